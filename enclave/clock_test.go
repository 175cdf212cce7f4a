package enclave

import (
	"os/exec"
	"strings"
	"testing"
)

// TestNoClock holds that the trusted program asks no clock, which would be the host's: what it knows of time stands in headers.
func TestNoClock(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "-tags", "netgo,osusergo", "-f", `{{if not .Standard}}{{.ImportPath}} {{join .Imports " "}}{{end}}`,
		"github.com/cella-network/cella/cmd/cella-enclave").Output()
	if err != nil {
		t.Fatal(err)
	}
	own := 0
	for line := range strings.Lines(string(out)) {
		path, imports, _ := strings.Cut(strings.TrimSpace(line), " ")
		if !strings.HasPrefix(path, "github.com/cella-network/cella/") {
			continue
		}
		own++
		for _, i := range strings.Fields(imports) {
			if i == "time" {
				t.Errorf("%s imports time", path)
			}
		}
	}
	if own < 8 {
		t.Errorf("%d packages of our own were listed: the test looks at the wrong place", own)
	}
}
