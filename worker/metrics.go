package worker

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/cella-network/cella/protocol/storageproof"
)

// Metrics are the worker's gauges and counters, all named cella_...
type Metrics struct {
	head     prometheus.Gauge
	expires  prometheus.Gauge
	restarts prometheus.Counter
	draws    *prometheus.CounterVec
	reports  *prometheus.CounterVec
	sectors  *prometheus.GaugeVec
	bytes    *prometheus.GaugeVec
	heights  *prometheus.GaugeVec
	holding  prometheus.Gauge
	orders   *prometheus.CounterVec
	filled   prometheus.Counter
	sealed   prometheus.Counter
	served   prometheus.Counter
	audits   *prometheus.CounterVec
	warnings *prometheus.CounterVec

	partials   *prometheus.CounterVec
	ceremonies *prometheus.CounterVec
}

// NewMetrics registers them; nil registers none.
func NewMetrics(r prometheus.Registerer) *Metrics {
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: "cella_" + name, Help: help})
	}
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Name: "cella_" + name, Help: help})
	}
	gauges := func(name, help, label string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "cella_" + name, Help: help}, []string{label})
	}
	counters := func(name, help, label string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "cella_" + name, Help: help}, []string{label})
	}
	m := &Metrics{
		head:     gauge("enclave_height", "Height of the newest block that the enclave trusts."),
		expires:  gauge("registration_expires_height", "First height at which the registration no longer holds."),
		restarts: counter("enclave_restarts_total", "Sessions that ended before the node did."),
		draws:    counters("draws_total", "Heights whose spot check was made.", "result"),
		reports:  counters("reports_total", "Work reports by what became of them.", "result"),
		sectors:  gauges("sectors", "Sectors in the table.", "kind"),
		bytes:    gauges("proven_bytes", "Bytes in the last accepted report.", "kind"),
		heights:  gauges("heights", "Heights proven and failed, as the chain counts them.", "result"),
		holding:  gauge("orders_held", "Orders in the last accepted report."),
		orders:   counters("orders_total", "Orders by what became of them here.", "result"),
		filled:   counter("filled_bytes_total", "Random bytes written to free sectors."),
		sealed:   counter("sealed_bytes_total", "Bytes of blocks sealed."),
		served:   counter("served_bytes_total", "Bytes of sealed blocks handed out."),
		audits:   counters("audits_total", "Audits of other nodes by what our enclave found, none without a verdict.", "result"),
		warnings: counters("warnings_total", "Warnings of the chain by their rule.", "rule"),

		partials:   counters("partials_total", "Heights of which a partial signature was asked for.", "result"),
		ceremonies: counters("ceremonies_total", "Ceremonies of the network's key, and repairs, in which this node took part.", "result"),
	}
	if r != nil {
		r.MustRegister(m.head, m.expires, m.restarts, m.draws, m.reports, m.sectors, m.bytes, m.heights, m.holding, m.orders, m.filled, m.sealed, m.served, m.warnings, m.audits,
			m.partials, m.ceremonies)
	}
	return m
}

// accepted notes an accepted report.
func (m *Metrics) accepted(st storageproof.Standing, orders int) {
	m.reports.WithLabelValues("accepted").Inc()
	m.bytes.WithLabelValues("free").Set(float64(st.Free))
	m.bytes.WithLabelValues("stored").Set(float64(st.Stored))
	m.heights.WithLabelValues("proven").Set(float64(st.Proven))
	m.heights.WithLabelValues("failed").Set(float64(st.Failed))
	m.heights.WithLabelValues("late").Set(float64(st.Late))
	m.holding.Set(float64(orders))
}
