package committee

import (
	"errors"
	"testing"

	api "github.com/cella-network/cella/api/committee"
)

func TestGenesis(t *testing.T) {
	w := newWorld(t)
	m := NewAppModule(w.keeper)
	raw := m.ExportGenesis(w.ctx, w.cfg.Codec)
	must(t, m.ValidateGenesis(w.cfg.Codec, nil, raw))
	must(t, m.ValidateGenesis(w.cfg.Codec, nil, m.DefaultGenesis(w.cfg.Codec)))
	m.InitGenesis(w.ctx, w.cfg.Codec, raw)
	if g, err := w.keeper.ExportGenesis(w.ctx); err != nil || g.Params != params {
		t.Errorf("%+v, %v", g, err)
	}
	for name, change := range map[string]func(*api.Params){
		"a phase in which nothing can be said": func(p *api.Params) { p.PhaseBlocks = 1 },
		"no pause":                             func(p *api.Params) { p.RetryBlocks = 0 },
		"no attempt":                           func(p *api.Params) { p.Attempts = 0 },
		"no time to sign":                      func(p *api.Params) { p.ConfirmBlocks = 2 },
		"lost before it can be gone back from": func(p *api.Params) { p.StallBlocks = p.ConfirmBlocks - 1 },
		"no end":                               func(p *api.Params) { p.StallBlocks = maxBlocks + 1 },
		"no repair":                            func(p *api.Params) { p.Repairs = 0 },
		"any number of repairs":                func(p *api.Params) { p.Repairs = 129 },
	} {
		p := params
		change(&p)
		if err := ValidateGenesis(&api.GenesisState{Params: p}); err == nil {
			t.Errorf("%s is taken for good", name)
		}
		if _, err := (msgServer{w.keeper}).UpdateParams(w.ctx, &api.MsgUpdateParams{Authority: authority, Params: p}); !errors.Is(err, ErrRefused) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := (msgServer{w.keeper}).UpdateParams(w.ctx, &api.MsgUpdateParams{Authority: text("ann"), Params: params}); !errors.Is(err, ErrRefused) {
		t.Errorf("a stranger changed the params: %v", err)
	}
	p := params
	p.Repairs = 7
	_, err := msgServer{w.keeper}.UpdateParams(w.ctx, &api.MsgUpdateParams{Authority: authority, Params: p})
	must(t, err)
	if r, err := (queryServer{w.keeper}).Params(w.ctx, nil); err != nil || r.Params != p {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestQueries(t *testing.T) {
	w := newWorld(t)
	q := queryServer{w.keeper}
	if r, err := q.Charge(w.ctx, &api.QueryChargeRequest{Purpose: Purpose}); err != nil || r.Charge != nil || r.Before != nil {
		t.Errorf("%+v, %v", r, err)
	}
	if r, err := q.Ceremony(w.ctx, &api.QueryCeremonyRequest{Purpose: Purpose}); err != nil || r.Ceremony != nil {
		t.Errorf("%+v, %v", r, err)
	}
	if r, err := q.Repair(w.ctx, &api.QueryRepairRequest{Purpose: Purpose, Account: text("ann")}); err != nil || r.Repair != nil {
		t.Errorf("%+v, %v", r, err)
	}
	if _, err := q.Repair(w.ctx, &api.QueryRepairRequest{Purpose: Purpose, Account: "ann"}); !errors.Is(err, ErrRefused) {
		t.Error(err)
	}
	if _, err := q.Repairs(w.ctx, &api.QueryRepairsRequest{Purpose: "a\x00b"}); err == nil {
		t.Error("a purpose with a zero byte lists repairs")
	}
}

// An answer is a mebibyte at most, unless one entry alone is more, and the next one goes on where it ended.
func TestPages(t *testing.T) {
	sizes := []int{600 << 10, 300 << 10, 300 << 10, 2 << 20, 10, 10}
	get := func(n uint64) (api.Entry, error) { return api.Entry{Message: make([]byte, sizes[n])}, nil }
	var pages []int
	for from := uint64(0); from < uint64(len(sizes)); {
		entries, err := page(from, uint64(len(sizes)), get)
		must(t, err)
		pages = append(pages, len(entries))
		from += uint64(len(entries))
	}
	if len(pages) != 4 || pages[0] != 2 || pages[1] != 1 || pages[2] != 1 || pages[3] != 2 {
		t.Errorf("pages of %v entries", pages)
	}
	if entries, err := page(1<<63, 6, get); err != nil || len(entries) > 0 {
		t.Errorf("%d entries beyond the end, %v", len(entries), err)
	}
}
