package journal

import (
	"context"

	"github.com/cosmos/cosmos-sdk/types/query"

	"github.com/cella-network/cella/api/market"
)

// Against lists what stands against an operator at the moment: a warning each, with the height of its beginning and its deadline, the
// node's first and then those of its orders; and the replicas that wait for a successor.
func Against(ctx context.Context, queries market.QueryClient, operator string) ([]Entry, error) {
	params, err := queries.Params(ctx, &market.QueryParamsRequest{})
	if err != nil {
		return nil, err
	}
	conduct, err := queries.Conduct(ctx, &market.QueryConductRequest{Operator: operator})
	if err != nil {
		return nil, err
	}
	p, c := params.Params, conduct.Conduct
	var out []Entry
	if c.Warned > 0 {
		out = append(out, Entry{Kind: KindWarning, Rule: "unproven", Height: c.Warned, Deadline: c.Warned + p.MendBlocks, Evidence: c.Evidence})
	}
	if c.AuditWarned > 0 {
		out = append(out, Entry{Kind: KindWarning, Rule: "audit", Height: c.AuditWarned, Deadline: c.AuditWarned + p.MendBlocks, Evidence: c.AuditEvidence})
	}
	if c.Silent > 0 {
		out = append(out, Entry{Kind: KindWarning, Rule: "silent", Height: c.Silent, Deadline: c.Silent + p.SilentBlocks - p.WarnBlocks})
	}
	held := &market.QueryReplicasRequest{Operator: operator, Pagination: &query.PageRequest{Limit: 500}}
	for {
		r, err := queries.Replicas(ctx, held)
		if err != nil {
			return nil, err
		}
		for _, rep := range r.Replicas {
			if rep.Lost > 0 {
				out = append(out, Entry{Kind: KindWarning, Rule: "lost", Height: rep.Lost, Deadline: rep.Lost + p.RepairBlocks, Order: rep.Order})
			}
			if rep.Leaving {
				out = append(out, Entry{Kind: KindReplica, Rule: "leaving", Order: rep.Order})
			}
		}
		if r.Pagination == nil || len(r.Pagination.NextKey) == 0 {
			return out, nil
		}
		held.Pagination.Key = r.Pagination.NextKey
	}
}
