package worker

import (
	"context"
	"fmt"

	"github.com/cella-network/cella/api/market"
)

// warn tells the operator, once each, what stands against the node on chain: before it costs, and what can be done.
func (d *dealer) warn(ctx context.Context, mine map[uint64]market.Replica) {
	r, err := d.Queries.Market.Conduct(ctx, &market.QueryConductRequest{Operator: d.Address})
	if err != nil {
		return // the next block brings another chance
	}
	standing := map[string]bool{}
	if at := r.Conduct.Warned; at > 0 {
		d.say(standing, "unproven", at, at+d.terms.mend, 0, "check the disk: cella verify; is the machine fast enough, and on line?")
	}
	if at := r.Conduct.AuditWarned; at > 0 {
		d.say(standing, "audit", at, at+d.terms.mend, 0, "others must be able to fetch what is stored here: are the announced addresses reachable?")
	}
	if at := r.Conduct.Silent; at > 0 {
		d.say(standing, "silent", at, at+d.terms.silent-d.terms.warn, 0, "no report was accepted for long: this log says why")
	}
	for id, rep := range mine {
		if rep.Lost > 0 {
			d.say(standing, "lost", rep.Lost, rep.Lost+d.terms.repair, id, "it is being fetched again; check the disk: cella verify")
		}
	}
	for key := range d.warned {
		if !standing[key] {
			d.Log.Info("warning lifted, or overtaken by its deadline", "warning", key, "hint", "cella node explain")
			delete(d.warned, key)
		}
	}
}

func (d *dealer) say(standing map[string]bool, rule string, since, deadline int64, order uint64, hint string) {
	key := fmt.Sprintf("%s since block %d", rule, since)
	args := []any{"rule", rule, "since", since, "deadline", deadline}
	if order > 0 {
		key += fmt.Sprintf(", order %d", order)
		args = append(args, "order", order)
	}
	standing[key] = true
	if d.warned[key] {
		return
	}
	d.warned[key] = true
	d.Metrics.warnings.WithLabelValues(rule).Inc()
	d.Log.Warn("the chain warns this node", append(args, "hint", hint)...)
}
