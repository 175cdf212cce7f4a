package lightclient_test

import (
	"os/exec"
	"strings"
	"testing"
)

// The package is linked into the enclave: nothing that talks, and none of the code that its tests take as oracle.
func TestImports(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", ".").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	allowed := []string{
		"filippo.io/edwards25519", // signatures as consensus counts them
		"github.com/cella-network/cella/protocol/",
		"github.com/cometbft/cometbft/proto/tendermint/types",
		"github.com/cometbft/cometbft/proto/tendermint/version",
		"github.com/cometbft/cometbft/proto/tendermint/crypto",
		"github.com/cosmos/gogoproto/",
		"github.com/cosmos/ics23/go",
		"github.com/golang/protobuf/ptypes/duration", // gogoproto's types
		"github.com/google/go-cmp/cmp",               // gogoproto's proto, by protocmp
		"google.golang.org/protobuf/",
		"golang.org/x/crypto/", // hashes that ics23 registers
		"golang.org/x/sys/cpu",
	}
	listed := 0
	for _, path := range strings.Fields(string(out)) {
		listed++
		if path == "net" || path == "net/http" || path == "os/exec" {
			t.Errorf("imports %s", path)
		}
		if first, _, _ := strings.Cut(path, "/"); !strings.Contains(first, ".") {
			continue // standard library
		}
		ok := false
		for _, prefix := range allowed {
			ok = ok || strings.HasPrefix(path, prefix)
		}
		if !ok {
			t.Errorf("imports %s", path)
		}
	}
	if listed < 50 {
		t.Errorf("only %d packages listed", listed)
	}
}
