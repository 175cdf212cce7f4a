package client

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/cella-network/cella/content"
	"github.com/cella-network/cella/content/coding"
)

// How a file may be spread, beside a code such as 4+2.
const (
	CodeAuto = "auto" // replicas for what is small; a code for what is large if enough operators have room
	CodeNone = "none" // replicas
)

// codedFrom is the size in bytes from which CodeAuto thinks of codes: below, replicas cost little and are read faster.
const codedFrom = 256 << 20

// codes are what CodeAuto chooses from: the first whose shards find that many operators with room, one more than there are shards, so
// that a lost shard finds a place.
var codes = []struct {
	coding.Code
	operators int
}{
	{coding.Code{K: 8, M: 4}, 13},
	{coding.Code{K: 4, M: 2}, 7},
}

// parseCode checks the words of a request.
func parseCode(s string) (coding.Code, error) {
	switch s {
	case "", CodeAuto, CodeNone:
		return coding.Code{}, nil
	}
	c, err := coding.ParseCode(s)
	if err != nil {
		return c, &Error{Kind: KindUsage, What: fmt.Sprintf("code %q", s), Cause: err, Hint: "auto, none, or data and parity shards such as 4+2"}
	}
	return c, nil
}

// spread decides whether the file is coded, makes the shards if so, and lists the parts. What is ordered already stays as it is.
func (p *put) spread(ctx context.Context) error {
	code, err := p.choose(ctx)
	if err != nil {
		return err
	}
	if code == (coding.Code{}) {
		p.entry.Code, p.entry.Manifest, p.entry.Shards = "", "", nil
		return p.divide()
	}
	if !p.hosts() { // the shards are known and others hold them
		return p.divide()
	}
	set, err := p.encode(ctx, code)
	automatic := p.entry.Code == "" && (p.req.Code == "" || p.req.Code == CodeAuto)
	switch {
	case errors.Is(err, coding.ErrUnsupported) && automatic:
		return p.divide()
	case errors.Is(err, coding.ErrUnsupported):
		return &Error{Kind: KindUsage, What: "it can't be coded", Cause: err, Hint: "--code none stores replicas"}
	case err != nil:
		return wrap(KindLocal, "coding "+p.req.Path, err)
	case automatic && set.Stored() >= uint64(p.entry.Replicas)*p.entry.Size:
		return p.divide() // many small blocks: codes save nothing
	}
	before := p.entry.Shards
	p.entry.Code, p.entry.Manifest, p.entry.Shards = set.Code.String(), set.Manifest.String(), nil
	for i, s := range set.Shards {
		e := ShardEntry{Root: s.Root.String(), Size: s.Size}
		if i < len(before) && before[i].Root == e.Root {
			e.Order = before[i].Order
		}
		p.entry.Shards = append(p.entry.Shards, e)
	}
	if err := p.catalogue.save(&p.entry); err != nil {
		return err
	}
	return p.divide()
}

// choose finds the code: that of orders that live or may appear, else what was asked for.
func (p *put) choose(ctx context.Context) (coding.Code, error) {
	asked, err := parseCode(p.req.Code)
	if err != nil {
		return asked, err
	}
	if p.ordered() {
		if err := p.divide(); err != nil {
			return asked, err
		}
		if err := p.findOrders(ctx); err != nil {
			return asked, err
		}
	}
	if p.ordered() {
		var stands coding.Code
		if p.entry.Code != "" {
			if stands, err = coding.ParseCode(p.entry.Code); err != nil {
				return asked, wrap(KindLocal, "catalogue entry "+p.entry.Name, err)
			}
		}
		explicit := p.req.Code != "" && p.req.Code != CodeAuto
		narrowed := asked.M == stands.M && len(p.entry.Shards) > 0 && stands.K < asked.K // the file has fewer blocks than K
		if explicit && asked != stands && !narrowed {
			return asked, &Error{Kind: KindUsage, What: fmt.Sprintf("%s is stored already, %s", p.entry.Name, spreadWords(p.entry)), Hint: "cella rm it first, or leave --code away"}
		}
		return stands, nil
	}
	if p.req.Code != "" && p.req.Code != CodeAuto || p.entry.Size < codedFrom {
		return asked, nil
	}
	for _, c := range codes {
		prices, err := p.chain.offers(ctx, p.entry.Size/uint64(c.K)+p.entry.Size/256)
		if err != nil {
			return asked, err
		}
		if len(prices) >= c.operators {
			return c.Code, nil
		}
	}
	return coding.Code{}, nil
}

func spreadWords(e Entry) string {
	if e.Code != "" {
		return "coded " + e.Code
	}
	return fmt.Sprintf("in %d replicas", e.Replicas)
}

// encode adds what the shards need to the blocks.
func (p *put) encode(ctx context.Context, code coding.Code) (coding.Set, error) {
	store, err := content.OpenStore(filepath.Join(p.dir(putsDir, p.entry.Root), "blocks"))
	if err != nil {
		return coding.Set{}, err
	}
	defer store.Close()
	var done uint64
	return coding.Encode(ctx, store, p.root, code, func(n int64) {
		done += uint64(n)
		p.opts.Progress(Progress{Stage: StageCode, Done: done, Total: p.entry.Size})
	})
}
