// Package cella holds no code: this test holds the walls of the house (docs/architecture.md).
package cella

import (
	"bufio"
	"bytes"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/cella-network/cella/"

// pkg is one package of this module: what it imports itself and what it drags in, tests excluded.
type pkg struct {
	path    string // below the module
	imports []string
	deps    []string
}

func packages(t *testing.T) []pkg {
	t.Helper()
	const format = `{{.ImportPath}}|{{join .Imports " "}}|{{join .Deps " "}}`
	cmd := exec.Command("go", "list", "-f", format, "./...")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.String())
	}
	var all []pkg
	lines := bufio.NewScanner(bytes.NewReader(out))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		f := strings.Split(lines.Text(), "|")
		all = append(all, pkg{
			path:    strings.TrimPrefix(f[0], module),
			imports: strings.Fields(f[1]),
			deps:    strings.Fields(f[2]),
		})
	}
	if len(all) < 10 {
		t.Fatalf("go list names %d packages: the test looks at the wrong place", len(all))
	}
	return all
}

func under(path, folder string) bool { return path == folder || strings.HasPrefix(path, folder+"/") }

func std(path string) bool { return !strings.Contains(strings.SplitN(path, "/", 2)[0], ".") }

// downwards is the order of protocol/: a package imports only those named before it.
var downwards = []string{"lottery", "attestation", "threshold", "beacon", "storageproof", "stake", "market", "audit", "contract", "lightclient"}

func TestProtocolImportsNothingButRules(t *testing.T) {
	ours := []string{"golang.org/x/crypto/cryptobyte", "github.com/supranational/blst/bindings/go"}
	light := append([]string{"filippo.io/edwards25519", "github.com/cometbft/cometbft/proto/tendermint", "github.com/cosmos/gogoproto/proto", "github.com/cosmos/ics23/go"}, ours...)
	impure := []string{"time", "os", "net", "sync", "math/rand", "math/rand/v2", "crypto/rand", "log", "io/fs", "context"}
	for _, p := range packages(t) {
		name, ok := strings.CutPrefix(p.path, "protocol/")
		if !ok {
			continue
		}
		rank := slices.Index(downwards, name)
		if rank < 0 {
			t.Errorf("%s: a protocol package needs its place in the order of this test", p.path)
		}
		allowed := ours
		if name == "lightclient" {
			allowed = light
		}
		for _, i := range p.imports {
			if below, ok := strings.CutPrefix(i, module+"protocol/"); ok {
				if at := slices.Index(downwards, below); at < 0 || at >= rank {
					t.Errorf("%s imports %s, which is not below it", p.path, i)
				}
				continue
			}
			switch {
			case slices.Contains(impure, i):
				t.Errorf("%s imports %s: rules have no clock, I/O or goroutines", p.path, i)
			case !std(i) && !slices.ContainsFunc(allowed, func(a string) bool { return under(i, a) }):
				t.Errorf("%s imports %s", p.path, i)
			}
		}
	}
}

func TestEnclaveDragsInNothingUntrusted(t *testing.T) {
	never := []string{module + "api", module + "chain", module + "worker", module + "content", module + "client", module + "devnet",
		"github.com/cosmos/cosmos-sdk", "github.com/libp2p", "github.com/ipfs", "google.golang.org/grpc", "net/http"}
	for _, p := range packages(t) {
		if !under(p.path, "enclave") && !under(p.path, "cmd/cella-enclave") {
			continue
		}
		for _, d := range p.deps {
			for _, n := range never {
				if under(d, n) {
					t.Errorf("%s drags in %s", p.path, d)
				}
			}
		}
	}
}

func TestWorkerReachesTheEnclaveOnlyThroughWire(t *testing.T) {
	for _, p := range packages(t) {
		if under(p.path, "enclave") || under(p.path, "cmd/cella-enclave") {
			continue
		}
		for _, i := range p.imports {
			if under(i, module+"enclave") && i != module+"enclave/wire" && !under(p.path, "bench") {
				t.Errorf("%s imports %s", p.path, i)
			}
		}
	}
}

func TestModulesOfTheChainDoNotKnowEachOther(t *testing.T) {
	for _, p := range packages(t) {
		mine, ok := strings.CutPrefix(p.path, "chain/x/")
		if !ok {
			continue
		}
		mine, _, _ = strings.Cut(mine, "/")
		for _, i := range p.imports {
			if other, ok := strings.CutPrefix(i, module+"chain/x/"); ok && !under(other, mine) {
				t.Errorf("%s imports %s", p.path, i)
			}
			for _, n := range []string{"worker", "content", "client", "enclave", "devnet"} {
				if under(i, module+n) {
					t.Errorf("%s imports %s", p.path, i)
				}
			}
		}
	}
}

func TestContentKnowsNeitherChainNorEnclave(t *testing.T) {
	for _, p := range packages(t) {
		if !under(p.path, "content") {
			continue
		}
		for _, d := range p.deps {
			for _, n := range []string{"api", "chain", "worker", "enclave", "client", "devnet", "protocol"} {
				if under(d, module+n) {
					t.Errorf("%s drags in %s", p.path, d)
				}
			}
		}
	}
}
