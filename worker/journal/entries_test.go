package journal

import (
	"strings"
	"testing"

	abci "github.com/cometbft/cometbft/abci/types"
	coretypes "github.com/cometbft/cometbft/rpc/core/types"
	sdk "github.com/cosmos/cosmos-sdk/types"
	authtypes "github.com/cosmos/cosmos-sdk/x/auth/types"
	banktypes "github.com/cosmos/cosmos-sdk/x/bank/types"
	"github.com/cosmos/gogoproto/proto"

	"github.com/cella-network/cella/api/attest"
	"github.com/cella-network/cella/api/audit"
	"github.com/cella-network/cella/api/market"
	"github.com/cella-network/cella/api/moderation"
	"github.com/cella-network/cella/client"
)

func named(b byte) string {
	s, err := client.EncodeAddress([]byte(strings.Repeat(string(rune(b)), 20)))
	if err != nil {
		panic(err)
	}
	return s
}

func moduleAddress(name string) string {
	s, err := client.EncodeAddress(authtypes.NewModuleAddress(name))
	if err != nil {
		panic(err)
	}
	return s
}

func typed(t *testing.T, m proto.Message, added ...string) abci.Event {
	t.Helper()
	e, err := sdk.TypedEventToEvent(m)
	if err != nil {
		t.Fatal(err)
	}
	out := abci.Event(e)
	for i := 0; i < len(added); i += 2 {
		out.Attributes = append(out.Attributes, abci.EventAttribute{Key: added[i], Value: added[i+1]})
	}
	return out
}

// sent are the bank's events of a transfer.
func sent(from, to, amount string, added ...string) []abci.Event {
	events := []abci.Event{
		{Type: banktypes.EventTypeCoinSpent, Attributes: []abci.EventAttribute{{Key: "spender", Value: from}, {Key: "amount", Value: amount}}},
		{Type: banktypes.EventTypeCoinReceived, Attributes: []abci.EventAttribute{{Key: "receiver", Value: to}, {Key: "amount", Value: amount}}},
		{Type: banktypes.EventTypeTransfer, Attributes: []abci.EventAttribute{{Key: "recipient", Value: to}, {Key: "sender", Value: from}, {Key: "amount", Value: amount}}},
	}
	for i := range events {
		for j := 0; j < len(added); j += 2 {
			events[i].Attributes = append(events[i].Attributes, abci.EventAttribute{Key: added[j], Value: added[j+1]})
		}
	}
	return events
}

func join(parts ...any) (out []abci.Event) {
	for _, p := range parts {
		switch p := p.(type) {
		case abci.Event:
			out = append(out, p)
		case []abci.Event:
			out = append(out, p...)
		}
	}
	return out
}

func TestEntriesOfEvents(t *testing.T) {
	op, owner := named('o'), named('w')
	bank, stakes := moduleAddress("market"), moduleAddress("attest")
	msg := []string{"msg_index", "0"}
	begin := []string{"mode", "BeginBlock"}
	for _, c := range []struct {
		name    string
		account string
		tx      []abci.Event
		block   []abci.Event
		want    string
	}{
		{name: "one transfer pays many orders", account: op,
			tx: join(typed(t, &market.EventPaid{Order: 1, Operator: op, Amount: 30, Rule: "proof"}, msg...),
				typed(t, &market.EventPaid{Order: 2, Operator: op, Amount: 12, Rule: "proof"}, msg...), sent(bank, op, "42ucella", msg...)),
			want: "pay/proof +30 order 1; pay/proof +12 order 2"},
		{name: "the bank moved more than the events say", account: op,
			tx:   join(typed(t, &market.EventPaid{Order: 1, Operator: op, Amount: 30, Rule: "proof"}, msg...), sent(bank, op, "42ucella", msg...)),
			want: "pay/proof +30 order 1; other/coin_received +12"},
		{name: "the bank moved less than the events say", account: op,
			tx:   join(typed(t, &market.EventPaid{Order: 1, Operator: op, Amount: 30, Rule: "proof"}, msg...), sent(bank, op, "2ucella", msg...)),
			want: "pay/proof +30 order 1; other/coin_received -28"},
		{name: "the bank moved nothing", account: op,
			tx:   join(typed(t, &market.EventPaid{Order: 1, Operator: op, Amount: 30, Rule: "proof"}, msg...)),
			want: "pay/proof +30 order 1; other/nothing moved -30"},
		{name: "an event of another message explains nothing", account: op,
			tx:   join(typed(t, &market.EventPaid{Order: 1, Operator: op, Amount: 30, Rule: "proof"}, "msg_index", "1"), sent(bank, op, "30ucella", "msg_index", "2")),
			want: "pay/proof +30 order 1; other/nothing moved -30; other/coin_received +30"},
		{name: "pay and collateral in the block's begin", account: op,
			block: join(typed(t, &market.EventPaid{Order: 1, Operator: op, Amount: 30, Rule: "minimum-term"}, begin...),
				typed(t, &market.EventCollateralReturned{Order: 1, Operator: op, Amount: 12, Rule: "end"}, begin...), sent(bank, op, "42ucella", begin...)),
			want: "pay/minimum-term +30 order 1; collateral/end +12 locked -12 order 1"},
		{name: "collateral is locked after the transfer", account: op,
			tx:   join(sent(op, bank, "9ucella", msg...), typed(t, &market.EventAccepted{Order: 3, Operator: op, Price: 1, Collateral: 9}, msg...)),
			want: "collateral/accepted -9 locked +9 order 3"},
		{name: "a penalty, as the operator sees it", account: op,
			tx:   join(typed(t, &market.EventPenalty{Order: 3, Operator: op, Owner: owner, Amount: 9, Rule: "lost", Evidence: "aa"}, msg...), sent(bank, owner, "9ucella", msg...)),
			want: "penalty/lost 0 locked -9 order 3 evidence aa"},
		{name: "a penalty, as the owner sees it", account: owner,
			tx:   join(typed(t, &market.EventPenalty{Order: 3, Operator: op, Owner: owner, Amount: 9, Rule: "lost", Evidence: "aa"}, msg...), sent(bank, owner, "9ucella", msg...)),
			want: "compensation/lost +9 order 3 evidence aa"},
		{name: "a penalty of one who holds its own order", account: op,
			tx:   join(typed(t, &market.EventPenalty{Order: 3, Operator: op, Owner: op, Amount: 9, Rule: "audit"}, msg...), sent(bank, op, "9ucella", msg...)),
			want: "penalty/audit 0 locked -9 order 3; compensation/audit +9 order 3"},
		{name: "a warning and its end", account: op,
			tx: join(typed(t, &market.EventWarning{Operator: op, Rule: "unproven", Evidence: "bb", Height: 7, Deadline: 27, Heights: 2}, msg...),
				typed(t, &market.EventWarningLifted{Operator: op, Rule: "silent", Height: 7}, msg...), typed(t, &market.EventWarning{Operator: owner, Rule: "lost"}, msg...)),
			want: "warning/unproven 0 evidence bb until 27; lifted/silent 0"},
		{name: "escrow", account: owner,
			tx: join(sent(owner, bank, "100ucella", msg...), typed(t, &market.EventOrderPlaced{Order: 4, Owner: owner, Escrow: 100}, msg...),
				sent(owner, bank, "20ucella", "msg_index", "1"), typed(t, &market.EventRenewed{Order: 4, Owner: owner, Escrow: 20}, "msg_index", "1"),
				sent(bank, owner, "50ucella", "msg_index", "2"), typed(t, &market.EventClosed{Order: 4, Owner: owner, Refund: 50, Rule: "owner"}, "msg_index", "2")),
			want: "escrow/placed -100 order 4; escrow/renewed -20 order 4; escrow/owner +50 order 4"},
		{name: "the fee of a transaction and its entry stake", account: op,
			tx: join(sent(op, moduleAddress(authtypes.FeeCollectorName), "7ucella"), sent(op, stakes, "10ucella", msg...),
				typed(t, &attest.EventStake{Operator: op, Amount: ucella(10), Rule: "announced"}, msg...)),
			want: "fee -7; stake/announced -10 locked +10"},
		{name: "an entry stake that no event explains", account: op,
			tx:   join(sent(stakes, op, "10ucella", msg...)),
			want: "other/coin_received +10"},
		{name: "an audit, as the holder sees it", account: op,
			block: join(typed(t, &audit.EventCaseClosed{Case: 4, Holder: op, Order: 3, Outcome: "failed"}, begin...), typed(t, &audit.EventAuditorSilent{Case: 4, Auditor: owner}, begin...)),
			want:  "audit/failed 0 order 3 evidence case 4"},
		{name: "an audit, as a silent auditor sees it", account: owner,
			block: join(typed(t, &audit.EventCaseClosed{Case: 4, Holder: op, Order: 3, Outcome: "failed"}, begin...), typed(t, &audit.EventAuditorSilent{Case: 4, Auditor: owner}, begin...)),
			want:  "audit/silent 0 evidence case 4"},
		{name: "the deposit of a deny list", account: op,
			tx: join(sent(op, moduleAddress("moderation"), "5ucella", msg...), typed(t, &moderation.EventPublished{Publisher: op, Name: "spam", Locked: ucella(5)}, msg...),
				typed(t, &moderation.EventPublished{Publisher: op, Name: "spam", Locked: ucella(0)}, "msg_index", "1"),
				sent(moduleAddress("moderation"), op, "5ucella", "msg_index", "2"), typed(t, &moderation.EventWithdrawn{Publisher: op, Name: "spam", Returned: ucella(5)}, "msg_index", "2")),
			want: "deposit/list -5 evidence spam; deposit/list-returned +5 evidence spam"},
		{name: "coins of another kind", account: op, tx: join(sent(owner, op, "7ibc/AA", msg...), sent(owner, op, "3aaa,8ucella", msg...)), want: "transfer/received +8"},
		{name: "one sender, two receivers", account: op,
			tx: join(abci.Event{Type: banktypes.EventTypeCoinSpent, Attributes: []abci.EventAttribute{{Key: "spender", Value: op}, {Key: "amount", Value: "9ucella"}}},
				sent("", owner, "4ucella")[1:], sent("", named('x'), "5ucella")[1:]),
			want: "transfer/sent -4; transfer/sent -5"},
		{name: "coins that are burned, and minted", account: op,
			tx:   join(sent(op, "", "9ucella")[:1], abci.Event{Type: banktypes.EventTypeCoinBurn}, sent("", op, "9ucella")[1:2]),
			want: "other/coin_spent -9; other/coin_received +9"},
		{name: "an event that can't be read", account: op,
			tx:   join(abci.Event{Type: "cella.market.v1.EventPaid", Attributes: []abci.EventAttribute{{Key: "operator", Value: `"` + op + `"`}, {Key: "amount", Value: "many"}}}, sent(bank, op, "9ucella")),
			want: "other/coin_received +9"},
		{name: "an amount that no account can have", account: op,
			tx: join(typed(t, &market.EventPaid{Order: 1, Operator: op, Amount: 1 << 63, Rule: "proof"}, msg...)), want: ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := &coretypes.ResultBlockResults{Height: 5, FinalizeBlockEvents: c.block, TxsResults: []*abci.ExecTxResult{{Events: c.tx}}}
			entries, err := Entries(c.account, r)
			if err != nil {
				t.Fatal(err)
			}
			if got := brief(entries); got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			moved, err := flows(append(append([]abci.Event{}, c.block...), c.tx...), c.account)
			if err != nil {
				t.Fatal(err)
			}
			var sum int64
			for _, f := range moved {
				sum += f.amount
			}
			if Sum(entries) != sum {
				t.Errorf("the entries add up to %d, the bank moved %d", Sum(entries), sum)
			}
		})
	}
	if _, err := Entries(op, &coretypes.ResultBlockResults{TxsResults: []*abci.ExecTxResult{{Events: sent(op, owner, "x")}}}); err == nil {
		t.Error("an amount that is none passed")
	}
}

// Every rule has words of its own.
func TestWords(t *testing.T) {
	for kind, rules := range words {
		if rules[""] == "" {
			t.Errorf("%s has no words", kind)
		}
		for rule, text := range rules {
			if e := (Entry{Kind: kind, Rule: rule, From: 1, Height: 2}); !strings.HasPrefix(e.Words(), text) {
				t.Errorf("%+v: %q", e, e.Words())
			}
		}
		if e := (Entry{Kind: kind, Rule: "quite new"}); !strings.Contains(e.Words(), "(quite new)") {
			t.Errorf("a rule that is not known yet does not show: %q", e.Words())
		}
	}
}
