package market

import (
	"errors"
	"flag"
	"math"
	"math/big"
	"os"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

var terms = Terms{DayBlocks: 100, MinBlocks: 50, MaxBlocks: 1000, AcceptBlocks: 20, GraceBlocks: 10, Collateral: 10,
	MendBlocks: 20, ClearBlocks: 40, FaultFactor: 2, RepairBlocks: 30, WarnBlocks: 15, SilentBlocks: 40, AuditFaults: 5, LapseFee: 50}

const gib = 1 << 30

// A hundred random cases, rapid's own number, hardly reach the rarer rules.
func TestMain(m *testing.M) {
	flag.Parse()
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "rapid.checks" })
	if !given {
		if err := flag.Set("rapid.checks", "10000"); err != nil {
			panic(err)
		}
	}
	os.Exit(m.Run())
}

func TestTermsValidate(t *testing.T) {
	if err := terms.Validate(); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Terms){
		"no day":             func(t *Terms) { t.DayBlocks = 0 },
		"no minimum":         func(t *Terms) { t.MinBlocks = 0 },
		"maximum < minimum":  func(t *Terms) { t.MaxBlocks = t.MinBlocks - 1 },
		"maximum overflows":  func(t *Terms) { t.MaxBlocks = math.MaxInt64 },
		"no time to prove":   func(t *Terms) { t.AcceptBlocks = 0 },
		"no grace":           func(t *Terms) { t.GraceBlocks = 0 },
		"grace overflows":    func(t *Terms) { t.GraceBlocks = math.MaxInt64 },
		"collateral too big": func(t *Terms) { t.Collateral = 1001 },
		"no time to mend":    func(t *Terms) { t.MendBlocks = 0 },
		"no time to clear":   func(t *Terms) { t.ClearBlocks = 0 },
		"no time to repair":  func(t *Terms) { t.RepairBlocks = 0 },
		"no warning":         func(t *Terms) { t.WarnBlocks = 0 },
		"warned too late":    func(t *Terms) { t.SilentBlocks = t.WarnBlocks },
		"silence overflows":  func(t *Terms) { t.SilentBlocks = math.MaxInt64 },
		"faults too dear":    func(t *Terms) { t.FaultFactor = 1001 },
		"audits too dear":    func(t *Terms) { t.AuditFaults = 1001 },
		"more than all":      func(t *Terms) { t.LapseFee = 101 },
	} {
		bad := terms
		change(&bad)
		if err := bad.Validate(); !errors.Is(err, ErrTerms) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Pay agrees with arithmetic that can't overflow, and fails where the figure doesn't fit.
func TestPayExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		day := rapid.Int64Range(1, maxTerm).Draw(t, "day")
		size, price := rapid.Uint64().Draw(t, "size"), rapid.Uint64().Draw(t, "price")
		blocks := rapid.Int64Range(0, math.MaxInt64).Draw(t, "blocks")
		got, err := Terms{DayBlocks: day}.Pay(size, price, blocks)
		want := new(big.Int).SetUint64(size)
		want.Mul(want, new(big.Int).SetUint64(price)).Mul(want, big.NewInt(blocks))
		want.Rsh(want, 30).Quo(want, big.NewInt(day))
		switch {
		case want.IsUint64() && (err != nil || got != want.Uint64()):
			t.Fatalf("got %d, %v, want %s", got, err, want)
		case !want.IsUint64() && !errors.Is(err, ErrOrder):
			t.Fatalf("got %d, %v, want an overflow", got, err)
		}
	})
	if _, err := terms.Pay(1, 1, -1); !errors.Is(err, ErrOrder) {
		t.Error("negative blocks", err)
	}
	if _, err := (Terms{}).Pay(1, 1, 1); !errors.Is(err, ErrOrder) {
		t.Error("days without blocks", err)
	}
}

func TestEscrowForOverflows(t *testing.T) {
	day := Terms{DayBlocks: 1}
	if got, err := day.EscrowFor(gib, math.MaxUint64, 1, 1); !errors.Is(err, ErrOrder) {
		t.Errorf("escrow wraps to %d: %v", got, err)
	}
	if got, err := day.EscrowFor(gib, maxEscrow/2, 1, 3); !errors.Is(err, ErrOrder) {
		t.Errorf("escrow of %d: %v", got, err)
	}
	if got, err := day.EscrowFor(gib, 7, 3, 2); err != nil || got != 2*(21+1) {
		t.Errorf("escrow of %d: %v", got, err)
	}
}

func TestPlaceLimits(t *testing.T) {
	type order struct {
		root, of []byte
		size     uint64
		blocks   int64
		replicas uint32
		price    uint64
		addrs    []string
	}
	place := func(o order) error {
		_, _, err := terms.Place(Order{ID: 1, Owner: "owner", Root: o.root, Of: o.of, Size: o.size, Replicas: o.replicas, Price: o.price, Addrs: o.addrs}, o.blocks, 5)
		return err
	}
	good := order{make([]byte, MaxRoot), make([]byte, MaxRoot), gib, 100, MaxReplicas, 10, make([]string, MaxAddrs)}
	for i := range good.addrs {
		good.addrs[i] = "/" + strings.Repeat("a", MaxAddr-1)
	}
	if err := place(good); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*order){
		"no root":            func(o *order) { o.root = nil },
		"long root":          func(o *order) { o.root = make([]byte, MaxRoot+1) },
		"part of long root":  func(o *order) { o.of = make([]byte, MaxRoot+1) },
		"no size":            func(o *order) { o.size = 0 },
		"too big":            func(o *order) { o.size = MaxSize + 1 },
		"too short":          func(o *order) { o.blocks = terms.MinBlocks - 1 },
		"too long":           func(o *order) { o.blocks = terms.MaxBlocks + 1 },
		"no replicas":        func(o *order) { o.replicas = 0 },
		"too many replicas":  func(o *order) { o.replicas = MaxReplicas + 1 },
		"no price":           func(o *order) { o.price = 0 },
		"price too high":     func(o *order) { o.price = MaxPrice + 1 },
		"escrow overflows":   func(o *order) { o.size, o.price = MaxSize, MaxPrice },
		"too many addresses": func(o *order) { o.addrs = make([]string, MaxAddrs+1) },
		"empty address":      func(o *order) { o.addrs = []string{""} },
		"long address":       func(o *order) { o.addrs = []string{"/" + strings.Repeat("a", MaxAddr)} },
		"no multiaddr":       func(o *order) { o.addrs = []string{"example.org"} },
		"unprintable":        func(o *order) { o.addrs = []string{"/dns/\x00"} },
		"not UTF-8":          func(o *order) { o.addrs = []string{"/dns/\xff"} },
	} {
		bad := good
		change(&bad)
		if err := place(bad); !errors.Is(err, ErrOrder) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestAskLimits(t *testing.T) {
	if err := (Ask{Price: MaxPrice, MaxSize: MaxSize}).Validate(); err != nil {
		t.Error(err)
	}
	for _, a := range []Ask{{Price: MaxPrice + 1}, {MaxSize: MaxSize + 1}} {
		if err := a.Validate(); !errors.Is(err, ErrOrder) {
			t.Errorf("%+v: %v", a, err)
		}
	}
}
