package committee

import (
	"context"
	"errors"

	"cosmossdk.io/collections"

	api "github.com/cella-network/cella/api/committee"
	"github.com/cella-network/cella/protocol/threshold"
)

const maxPage = 1 << 20 // bytes of entries in one answer

// queryServer answers the module's queries.
type queryServer struct{ *Keeper }

var _ api.QueryServer = queryServer{}

func (k queryServer) Params(ctx context.Context, _ *api.QueryParamsRequest) (*api.QueryParamsResponse, error) {
	p, err := k.params.Get(ctx)
	return &api.QueryParamsResponse{Params: p}, err
}

func (k queryServer) Charge(ctx context.Context, req *api.QueryChargeRequest) (*api.QueryChargeResponse, error) {
	now, before, err := k.Charges(ctx, req.Purpose)
	return &api.QueryChargeResponse{Charge: shown(now), Before: shown(before)}, err
}

func shown(c *threshold.InCharge) *api.Charge {
	if c == nil {
		return nil
	}
	return &api.Charge{Epoch: c.Epoch, From: c.From, Confirmed: c.Confirmed, Group: c.Keys.Marshal()}
}

func (k queryServer) Ceremony(ctx context.Context, req *api.QueryCeremonyRequest) (*api.QueryCeremonyResponse, error) {
	p, err := k.proceedings.Get(ctx, req.Purpose)
	if errors.Is(err, collections.ErrNotFound) {
		return &api.QueryCeremonyResponse{}, nil
	}
	if err != nil {
		return nil, err
	}
	if len(p.Old) > 0 {
		if p.Ceremony.Setup.Old, err = k.groups.Get(ctx, collections.Join(req.Purpose, p.Old)); err != nil {
			return nil, err
		}
	}
	out := &api.QueryCeremonyResponse{Ceremony: &p.Ceremony}
	out.Entries, err = page(req.From, p.Ceremony.Count, func(n uint64) (api.Entry, error) { return k.entries.Get(ctx, collections.Join(req.Purpose, n)) })
	return out, err
}

func (k queryServer) Repairs(ctx context.Context, req *api.QueryRepairsRequest) (*api.QueryRepairsResponse, error) {
	out := new(api.QueryRepairsResponse)
	err := k.repairs.Walk(ctx, collections.NewPrefixedPairRange[string, []byte](req.Purpose), func(_ collections.Pair[string, []byte], r api.Repair) (bool, error) {
		out.Repairs = append(out.Repairs, r)
		return false, nil
	})
	return out, err
}

func (k queryServer) Repair(ctx context.Context, req *api.QueryRepairRequest) (*api.QueryRepairResponse, error) {
	account, err := k.member(req.Account)
	if err != nil {
		return nil, err
	}
	r, err := k.repairs.Get(ctx, collections.Join(req.Purpose, account[:]))
	if errors.Is(err, collections.ErrNotFound) {
		return &api.QueryRepairResponse{}, nil
	}
	if err != nil {
		return nil, err
	}
	out := &api.QueryRepairResponse{Repair: &r}
	out.Entries, err = page(req.From, r.Count, func(n uint64) (api.Entry, error) {
		return k.repairEntries.Get(ctx, collections.Join3(req.Purpose, account[:], n))
	})
	return out, err
}

// page gives the entries from one on, until they are too many bytes for one answer.
func page(from, count uint64, get func(uint64) (api.Entry, error)) (out []api.Entry, err error) {
	for size := 0; from < count; from++ {
		e, err := get(from)
		if err != nil {
			return nil, err
		}
		if size += e.Size(); size > maxPage && len(out) > 0 {
			return out, nil
		}
		out = append(out, e)
	}
	return out, nil
}
