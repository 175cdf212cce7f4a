package journal

import (
	"fmt"
	"math"

	abci "github.com/cometbft/cometbft/abci/types"
	sdk "github.com/cosmos/cosmos-sdk/types"
	authtypes "github.com/cosmos/cosmos-sdk/x/auth/types"
	banktypes "github.com/cosmos/cosmos-sdk/x/bank/types"
	distrtypes "github.com/cosmos/cosmos-sdk/x/distribution/types"
	govtypes "github.com/cosmos/cosmos-sdk/x/gov/types"
	stakingtypes "github.com/cosmos/cosmos-sdk/x/staking/types"

	"github.com/cella-network/cella/client"
	"github.com/cella-network/cella/protocol/attestation"
)

// Accounts of modules that an operator deals with.
const (
	attestAccount     = attestation.StoreName
	marketAccount     = "market"
	moderationAccount = "moderation"
)

// modules are the names of the accounts of modules by address.
var modules = moduleNames(attestAccount, marketAccount, moderationAccount, authtypes.FeeCollectorName, distrtypes.ModuleName, govtypes.ModuleName,
	stakingtypes.BondedPoolName, stakingtypes.NotBondedPoolName, stakingtypes.KeyRotationFeePoolName)

func moduleNames(names ...string) map[string]string {
	out := map[string]string{}
	for _, name := range names {
		address, err := client.EncodeAddress(authtypes.NewModuleAddress(name))
		if err != nil {
			panic(err) // an address of 20 bytes always encodes
		}
		out[address] = name
	}
	return out
}

// flow is what the bank moved to the account (negative: from it) in one step.
type flow struct {
	at     int // index of the event
	amount int64
	party  string // an address or a module's name; empty if the bank's events don't tell
	event  string // the bank's name of the event
}

// flows collects what the bank moved for an account. It emits a coin_spent and then a coin_received for each receiver; coins that are
// minted have no spender, those that are burned no receiver. The sum of the flows is the change of the balance.
func flows(events []abci.Event, account string) ([]flow, error) {
	var out []flow
	var spender string
	var spent int64 // of the open coin_spent, not yet received by anybody
	var at int
	flush := func() {
		if spender == account && spent > 0 {
			out = append(out, flow{at: at, amount: -spent, event: banktypes.EventTypeCoinSpent})
		}
		spender, spent = "", 0
	}
	for i, e := range events {
		switch e.Type {
		case banktypes.EventTypeCoinSpent:
			flush()
			n, err := amount(e)
			if err != nil {
				return nil, err
			}
			spender, spent, at = attribute(e, banktypes.AttributeKeySpender), n, i
		case banktypes.EventTypeCoinReceived:
			n, err := amount(e)
			if err != nil {
				return nil, err
			}
			to, from := attribute(e, banktypes.AttributeKeyReceiver), ""
			if n <= spent {
				from = spender
				spent -= n
			}
			if n > 0 && from == account {
				out = append(out, flow{at: i, amount: -n, party: party(to), event: banktypes.EventTypeCoinSpent})
			}
			if n > 0 && to == account {
				out = append(out, flow{at: i, amount: n, party: party(from), event: banktypes.EventTypeCoinReceived})
			}
		case banktypes.EventTypeCoinBurn:
			flush()
		}
	}
	flush()
	return out, nil
}

func party(address string) string {
	if name := modules[address]; name != "" {
		return name
	}
	return address
}

// amount is how many ucella a bank's event is about.
func amount(e abci.Event) (int64, error) {
	coins, err := sdk.ParseCoinsNormalized(attribute(e, sdk.AttributeKeyAmount))
	if err != nil {
		return 0, fmt.Errorf("event %s: %w", e.Type, err)
	}
	n := coins.AmountOf(client.Denom)
	if !n.IsInt64() {
		return 0, fmt.Errorf("event %s: %s is more than %d", e.Type, n, int64(math.MaxInt64))
	}
	return n.Int64(), nil
}

func attribute(e abci.Event, key string) string {
	for _, a := range e.Attributes {
		if a.Key == key {
			return a.Value
		}
	}
	return ""
}

// unclaimed explains a flow of which no event of Cella's modules speaks.
func (f flow) unclaimed() Entry {
	e := Entry{Amount: f.amount, Party: f.party}
	in := f.amount > 0
	switch f.party {
	case authtypes.FeeCollectorName, stakingtypes.KeyRotationFeePoolName:
		e.Kind = KindFee
	case distrtypes.ModuleName:
		e.Kind = KindReward
	case govtypes.ModuleName:
		e.Kind = KindDeposit
		if in {
			e.Rule = "returned"
		}
	case stakingtypes.BondedPoolName, stakingtypes.NotBondedPoolName:
		e.Kind, e.Rule = KindDelegation, "delegated"
		if in {
			e.Rule = "returned"
		}
	case attestAccount, marketAccount, moderationAccount, "":
		e.Kind, e.Rule = KindOther, f.event
		return e
	default:
		e.Kind, e.Rule = KindTransfer, "sent"
		if in {
			e.Rule = "received"
		}
		return e
	}
	// A module that takes where it usually gives does it for a reason that isn't known here.
	if (e.Kind == KindFee && in) || (e.Kind == KindReward && !in) {
		e.Kind, e.Rule = KindOther, f.event
	}
	return e
}
