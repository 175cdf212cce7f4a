package journal

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	abci "github.com/cometbft/cometbft/abci/types"
	coretypes "github.com/cometbft/cometbft/rpc/core/types"
	sdk "github.com/cosmos/cosmos-sdk/types"
	"github.com/cosmos/gogoproto/proto"

	"github.com/cella-network/cella/api/attest"
	"github.com/cella-network/cella/api/audit"
	"github.com/cella-network/cella/api/market"
	"github.com/cella-network/cella/api/moderation"
	"github.com/cella-network/cella/client"
)

// Entries explains what a block did to an account, in the order in which it happened. It is a pure function of the block's results; Time
// and Tx, which are not among those, stay empty. It fails only if the bank's events are not what a node reports.
func Entries(account string, block *coretypes.ResultBlockResults) ([]Entry, error) {
	var out []Entry
	for _, p := range phases(block) {
		entries, err := p.entries(account)
		if err != nil {
			return nil, fmt.Errorf("block %d: %w", block.Height, err)
		}
		for _, e := range entries {
			e.Height, e.tx = block.Height, p.tx
			out = append(out, e)
		}
	}
	return out, nil
}

// phase is a part of a block within which events are brought together.
type phase struct {
	tx     int // 1 + index of the transaction; 0 for the block itself
	events []abci.Event
}

// Attributes that the application adds to the events of modules.
const (
	attrMode     = "mode"      // of events of a block: BeginBlock, EndBlock
	attrMessage  = "msg_index" // of events of a transaction's message
	attrGranted  = "authz_msg_index"
	eventsPrefix = "cella." // of the types of our modules' events
)

// phases are the block's begin, the transactions' parts and the block's end.
func phases(block *coretypes.ResultBlockResults) []phase {
	end := slices.IndexFunc(block.FinalizeBlockEvents, func(e abci.Event) bool { return attribute(e, attrMode) == "EndBlock" })
	if end < 0 {
		end = len(block.FinalizeBlockEvents)
	}
	out := split(0, block.FinalizeBlockEvents[:end], attrMode)
	for i, r := range block.TxsResults {
		out = append(out, split(i+1, r.Events, attrMessage)...)
	}
	return append(out, split(0, block.FinalizeBlockEvents[end:], attrMode)...)
}

// split cuts events where the value of an attribute changes.
func split(tx int, events []abci.Event, key string) []phase {
	var out []phase
	last := ""
	for _, e := range events {
		if now := attribute(e, key); len(out) == 0 || now != last {
			out, last = append(out, phase{tx: tx}), now
		}
		p := &out[len(out)-1]
		p.events = append(p.events, e)
	}
	return out
}

// side is one way between the account and another.
type side struct {
	party string
	in    bool // to the account
}

// entries brings the bank's events of a phase and the modules' together.
func (p phase) entries(account string) ([]Entry, error) {
	moved, err := flows(p.events, account)
	if err != nil {
		return nil, err
	}
	type placed struct {
		Entry
		at int // index of the event
	}
	var all []placed
	claimed, covered := map[side]int64{}, map[side]int64{}
	names := map[side]string{} // of the bank's last event
	for i, e := range p.events {
		for _, c := range claims(e, account) {
			if c.Amount != 0 {
				claimed[side{c.Party, c.Amount > 0}] += c.Amount
			}
			all = append(all, placed{c, i})
		}
	}
	for _, f := range moved {
		s := side{f.party, f.amount > 0}
		if _, ok := claimed[s]; !ok {
			all = append(all, placed{f.unclaimed(), f.at})
			continue
		}
		covered[s] += f.amount
		names[s] = f.event
	}
	for s, n := range claimed {
		if rest := covered[s] - n; rest != 0 {
			all = append(all, placed{Entry{Kind: KindOther, Rule: cmp.Or(names[s], "nothing moved"), Amount: rest, Party: s.party}, len(p.events)})
		}
	}
	slices.SortFunc(all, func(a, b placed) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.Party, b.Party), cmp.Compare(a.Amount, b.Amount))
	})
	out := make([]Entry, len(all))
	for i, c := range all {
		out[i] = c.Entry
	}
	return out, nil
}

// claims are what an event of Cella's modules says about an account. An event that can't be read says nothing: the coins it is about
// stay unexplained then, but counted.
func claims(e abci.Event, account string) []Entry {
	quoted := `"` + account + `"`
	if !strings.HasPrefix(e.Type, eventsPrefix) || !slices.ContainsFunc(e.Attributes, func(a abci.EventAttribute) bool { return a.Value == quoted }) {
		return nil
	}
	// What the application adds is no JSON.
	e.Attributes = slices.DeleteFunc(slices.Clone(e.Attributes), func(a abci.EventAttribute) bool {
		return a.Key == attrMode || a.Key == attrMessage || a.Key == attrGranted
	})
	event, err := sdk.ParseTypedEvent(e)
	if err != nil {
		return nil
	}
	return slices.DeleteFunc(slices.Concat(ofMarket(event, account), ofAttest(event, account), ofOthers(event, account)), func(e Entry) bool {
		return e.Amount == unreadable || e.Locked == unreadable
	})
}

// unreadable stands for an amount beyond what an account can have.
const unreadable = math.MinInt64

func signed(n uint64) int64 {
	if n > math.MaxInt64 {
		return unreadable
	}
	return int64(n)
}

func ofMarket(event proto.Message, account string) []Entry {
	switch e := event.(type) {
	case *market.EventOrderPlaced:
		return []Entry{{Kind: KindEscrow, Rule: "placed", Amount: -signed(e.Escrow), Order: e.Order, Party: marketAccount}}
	case *market.EventRenewed:
		return []Entry{{Kind: KindEscrow, Rule: "renewed", Amount: -signed(e.Escrow), Order: e.Order, Party: marketAccount}}
	case *market.EventClosed:
		return []Entry{{Kind: KindEscrow, Rule: e.Rule, Amount: signed(e.Refund), Order: e.Order, Party: marketAccount}}
	case *market.EventAccepted:
		n := signed(e.Collateral)
		return []Entry{{Kind: KindCollateral, Rule: "accepted", Amount: -n, Locked: n, Order: e.Order, Party: marketAccount}}
	case *market.EventCollateralReturned:
		n := signed(e.Amount)
		return []Entry{{Kind: KindCollateral, Rule: e.Rule, Amount: n, Locked: -n, Order: e.Order, Party: marketAccount}}
	case *market.EventPaid:
		return []Entry{{Kind: KindPay, Rule: e.Rule, Amount: signed(e.Amount), Order: e.Order, Party: marketAccount}}
	case *market.EventPenalty:
		var out []Entry
		if e.Operator == account {
			out = append(out, Entry{Kind: KindPenalty, Rule: e.Rule, Locked: -signed(e.Amount), Order: e.Order, Evidence: e.Evidence, Party: e.Owner})
		}
		if e.Owner == account {
			out = append(out, Entry{Kind: KindCompensation, Rule: e.Rule, Amount: signed(e.Amount), Order: e.Order, Evidence: e.Evidence, Party: marketAccount})
		}
		return out
	case *market.EventWarning:
		return []Entry{{Kind: KindWarning, Rule: e.Rule, Order: e.Order, Evidence: e.Evidence, Deadline: e.Deadline}}
	case *market.EventWarningLifted:
		return []Entry{{Kind: KindLifted, Rule: e.Rule, Order: e.Order}}
	case *market.EventProven:
		return []Entry{{Kind: KindReplica, Rule: "proven", Order: e.Order}}
	case *market.EventLeaving:
		return []Entry{{Kind: KindReplica, Rule: "leaving", Order: e.Order}}
	case *market.EventReplicaEnded:
		return []Entry{{Kind: KindReplica, Rule: e.Rule, Order: e.Order}}
	}
	return nil
}

func ofAttest(event proto.Message, account string) []Entry {
	switch e := event.(type) {
	case *attest.EventStake:
		n, ok := ours(e.Amount)
		if !ok {
			return nil
		}
		if e.Rule == "announced" {
			n = -n
		}
		return []Entry{{Kind: KindStake, Rule: e.Rule, Amount: n, Locked: -n, Party: attestAccount}}
	case *attest.EventRegistered:
		if e.Operator == account { // not where it endorsed another
			return []Entry{{Kind: KindRegistration, Rule: "registered", Deadline: e.Expires}}
		}
	case *attest.EventInactive:
		return []Entry{{Kind: KindRegistration, Rule: e.Rule}}
	}
	return nil
}

func ofOthers(event proto.Message, account string) []Entry {
	switch e := event.(type) {
	case *audit.EventCaseClosed:
		if e.Holder == account {
			return []Entry{{Kind: KindAudit, Rule: e.Outcome, Order: e.Order, Evidence: fmt.Sprintf("case %d", e.Case)}}
		}
	case *audit.EventAuditorSilent:
		return []Entry{{Kind: KindAudit, Rule: "silent", Evidence: fmt.Sprintf("case %d", e.Case)}}
	case *moderation.EventPublished:
		if n, ok := ours(e.Locked); ok && n > 0 {
			return []Entry{{Kind: KindDeposit, Rule: "list", Amount: -n, Evidence: e.Name, Party: moderationAccount}}
		}
	case *moderation.EventWithdrawn:
		if n, ok := ours(e.Returned); ok && n > 0 {
			return []Entry{{Kind: KindDeposit, Rule: "list-returned", Amount: n, Evidence: e.Name, Party: moderationAccount}}
		}
	}
	return nil
}

// ours is a coin's amount in ucella.
func ours(c sdk.Coin) (int64, bool) {
	if c.Denom != client.Denom || !c.Amount.IsInt64() {
		return 0, false
	}
	return c.Amount.Int64(), true
}
