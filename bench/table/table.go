// Package table is what the benchmarks have in common: rows of ours beside a peer or a limit, gathered over several programs and
// printed once.
package table

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"text/tabwriter"
)

// Row is one figure.
type Row struct {
	What   string
	Ours   string
	Beside string  `json:",omitempty"` // the peer or limit and its figure
	Ratio  float64 `json:",omitempty"` // how much of it we reach; 0: not a ratio
	Goal   float64 `json:",omitempty"` // least ratio that is wanted; 0: none
	Wanted string  `json:",omitempty"` // where the goal is no ratio
	Met    bool    `json:",omitempty"` // of Wanted
}

func (r Row) verdict() (goal, verdict string) {
	met := r.Met
	switch {
	case r.Wanted != "":
		goal = r.Wanted
	case r.Goal != 0:
		goal, met = fmt.Sprintf("%.2f", r.Goal), r.Ratio >= r.Goal
	default:
		return "", ""
	}
	if met {
		return goal, "met"
	}
	return goal, "MISSED"
}

// Add appends rows to a file, or prints them if path is empty.
func Add(path string, rows ...Row) error {
	if path == "" {
		return Print(os.Stdout, rows)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	e := json.NewEncoder(f)
	for _, r := range rows {
		if err := e.Encode(r); err != nil {
			f.Close()
			return err
		}
	}
	return f.Close()
}

// Read returns the rows of a file in their order; none if it does not exist.
func Read(path string) ([]Row, error) {
	f, err := os.Open(path)
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var rows []Row
	for lines := bufio.NewScanner(f); lines.Scan(); {
		var r Row
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		rows = append(rows, r)
	}
	return rows, nil
}

// Print writes the table.
func Print(w io.Writer, rows []Row) error {
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(t, "what\tours\tpeer or limit\tratio\twanted\t")
	for _, r := range rows {
		ratio := ""
		if r.Ratio != 0 {
			ratio = fmt.Sprintf("%.3f", r.Ratio)
		}
		goal, verdict := r.verdict()
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", r.What, r.Ours, r.Beside, ratio, goal, verdict)
	}
	return t.Flush()
}
