package table

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestRowsOfSeveralProgramsMakeOneTable(t *testing.T) {
	path := filepath.Join(t.TempDir(), "rows")
	if rows, err := Read(path); err != nil || rows != nil {
		t.Fatal(rows, err)
	}
	if err := Add(path, Row{What: "fast", Ours: "1 s", Beside: "peer: 2 s", Ratio: 2, Goal: 1}, Row{What: "plain", Ours: "7"}); err != nil {
		t.Fatal(err)
	}
	if err := Add(path, Row{What: "slow", Ours: "2 s", Beside: "peer: 1 s", Ratio: 0.5, Goal: 1}, Row{What: "late", Wanted: "under 15 s"}); err != nil {
		t.Fatal(err)
	}
	rows, err := Read(path)
	if err != nil || len(rows) != 4 {
		t.Fatal(rows, err)
	}
	var b strings.Builder
	if err := Print(&b, rows); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(b.String(), "\n")
	for i, want := range []string{"wanted", "2.000   1.00         met", "plain", "0.500   1.00         MISSED", "under 15 s   MISSED"} {
		if !strings.Contains(lines[i], want) {
			t.Errorf("line %d is %q, want %q in it", i, lines[i], want)
		}
	}
}
