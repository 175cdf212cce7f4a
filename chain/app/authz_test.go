package app_test

import (
	"strings"
	"testing"

	gogoproto "github.com/cosmos/gogoproto/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	sdk "github.com/cosmos/cosmos-sdk/types"
	"github.com/cosmos/cosmos-sdk/x/authz"

	market "github.com/cella-network/cella/api/market"
)

// An operator whose key is kept cold grants messages to a key on its node. Each of our messages reaches its module that way
// once it is granted, and none before; what one transaction carries inside is paid for as if it were carried outside.
func TestEveryMessageCanBeGranted(t *testing.T) {
	c := newChain(t)
	files, err := gogoproto.MergedRegistry()
	if err != nil {
		t.Fatal(err)
	}
	c.block(1)
	height, sequence := int64(2), uint64(0)
	run := func(gas uint64, inner ...sdk.Msg) (uint32, string, int64) {
		exec := authz.NewMsgExec(address(c.operator), inner)
		r := c.block(height, c.sign(c.operator, 1, sequence, gas, &exec))[0]
		height, sequence = height+1, sequence+1
		return r.Code, r.Log, r.GasUsed
	}
	granted := uint64(0)
	for _, url := range c.Registry.ListImplementations(sdk.MsgInterfaceProtoName) {
		if !strings.HasPrefix(url, "/cella.") {
			continue
		}
		desc, err := files.FindDescriptorByName(protoreflect.FullName(url[1:]))
		if err != nil {
			t.Fatal(err)
		}
		msg := example(t, c.App, files, desc.(protoreflect.MessageDescriptor), address(c.user))
		if code, log, _ := run(500_000, msg); code == 0 || !strings.Contains(log, "authorization not found") {
			t.Errorf("%s without a grant: %d %s", url, code, log)
		}
		grant, err := authz.NewMsgGrant(address(c.user), address(c.operator), authz.NewGenericAuthorization(url), nil)
		if err != nil {
			t.Fatal(err)
		}
		if r := c.block(height, c.sign(c.user, 0, granted, 500_000, grant))[0]; r.Code != 0 {
			t.Fatal(r.Log)
		}
		height, granted = height+1, granted+1
		code, log, _ := run(500_000, msg)
		if code != 0 && !strings.Contains(log, "refused") {
			t.Errorf("%s with a grant did not reach its module: %d %s", url, code, log)
		}
	}
	if granted < 14 {
		t.Errorf("%d messages of our own were granted, want 14 or more", granted)
	}
	ask := &market.MsgSetAsk{Operator: address(c.user).String(), Price: 1, MaxSize: 1}
	code, log, one := run(500_000, ask)
	if code != 0 {
		t.Fatal(log)
	}
	many := func(n int) (out []sdk.Msg) {
		for range n {
			out = append(out, ask)
		}
		return out
	}
	if code, log, used := run(10_000_000, many(50)...); code != 0 || used < one+49*5_000 {
		t.Errorf("%d: %s: 50 messages inside one cost %d gas, one costs %d", code, log, used, one)
	}
	if code, log, _ := run(200_000, many(50)...); code == 0 || !strings.Contains(log, "out of gas") {
		t.Errorf("%d: %s", code, log)
	}
	if code, log, _ := run(10_000_000, many(100)...); code == 0 || !strings.Contains(log, "parse") {
		t.Errorf("100 messages inside one are more than a transaction may carry: %d: %s", code, log)
	}
}
