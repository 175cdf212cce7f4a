package enclave

import (
	"os/exec"
	"slices"
	"strings"
	"testing"
)

// allowed is what the trusted program may consist of besides the standard library. A folder stands for all below it.
var allowed = []string{
	"github.com/cella-network/cella/cmd/cella-enclave",
	"github.com/cella-network/cella/enclave",
	"github.com/cella-network/cella/protocol",
	"golang.org/x/crypto",
	"golang.org/x/sys",
	"github.com/supranational/blst/bindings/go",

	// The guards of a plain process.
	"github.com/elastic/go-seccomp-bpf",
	"golang.org/x/net/bpf",
	"github.com/landlock-lsm/go-landlock/landlock",
	"kernel.org/pub/linux/libs/security/libcap/psx",

	// What protocol/lightclient reads headers and proofs with, and what these in turn are made of.
	"github.com/cometbft/cometbft/proto/tendermint",
	"github.com/cosmos/ics23/go",
	"filippo.io/edwards25519", // the standard library's own code; its rule for signatures is not that of consensus
	"github.com/cosmos/gogoproto",
	"github.com/golang/protobuf/ptypes/duration",
	"google.golang.org/protobuf",
	"github.com/google/go-cmp/cmp",
}

// forbidden are parts of the standard library that the trusted program has no use for.
var forbidden = []string{"net/http", "net/rpc", "net/smtp", "os/exec", "os/user", "plugin", "database/sql", "html/template", "expvar"}

func TestDependencies(t *testing.T) {
	cmd := exec.Command("go", "list", "-deps", "-tags", "netgo,osusergo", "-f", "{{if not .Standard}}{{.ImportPath}}{{else}}std {{.ImportPath}}{{end}}",
		"github.com/cella-network/cella/cmd/cella-enclave")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{}
	for _, line := range strings.Fields(strings.ReplaceAll(string(out), "std ", "std:")) {
		if std, ok := strings.CutPrefix(line, "std:"); ok {
			if slices.Contains(forbidden, std) {
				t.Errorf("the enclave links %s", std)
			}
			continue
		}
		i := slices.IndexFunc(allowed, func(a string) bool { return line == a || strings.HasPrefix(line, a+"/") })
		if i < 0 {
			t.Errorf("the enclave links %s", line)
			continue
		}
		used[allowed[i]] = true
	}
	for _, a := range allowed {
		if !used[a] {
			t.Errorf("%s is allowed but not linked: take it off the list", a)
		}
	}
}

// The language between host and enclave is the standard library's only.
func TestWireDependencies(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", "./wire").Output()
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Fields(string(out)); !slices.Equal(got, []string{"github.com/cella-network/cella/enclave/wire"}) {
		t.Errorf("wire links %v", got)
	}
}
