package interop

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ipfs/boxo/blockservice"
	"github.com/ipfs/boxo/exchange/offline"
	"github.com/ipfs/boxo/ipld/merkledag"

	"github.com/cella-network/cella/content"
)

// A CAR of ours is the one that kubo makes of the same root, byte for byte; kubo imports ours and we import kubo's.
func TestCAR(t *testing.T) {
	k := newKubo(t)
	for name, make := range sources() {
		if name == "two levels of nodes" {
			continue // a gigabyte of zeros is one block, the same in every CAR
		}
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			in, ours, theirs := filepath.Join(dir, "in"), filepath.Join(dir, "ours.car"), filepath.Join(dir, "theirs.car")
			if err := make(in); err != nil {
				t.Fatal(err)
			}
			store := memStore()
			res, err := content.Import(testContext(t), in, store, nil)
			if err != nil {
				t.Fatal(err)
			}
			dag := merkledag.NewDAGService(blockservice.New(store, offline.Exchange(store)))
			if err := content.ExportCAR(testContext(t), res.Root, dag, ours, nil); err != nil {
				t.Fatal(err)
			}
			if out := k.run("dag", "import", "--stats", ours); !strings.Contains(out, "Pinned root\t"+res.Root.String()+"\tsuccess") {
				t.Errorf("kubo says %q", out)
			}
			k.exportCAR(res.Root.String(), theirs)
			a, err := os.ReadFile(ours)
			if err != nil {
				t.Fatal(err)
			}
			b, err := os.ReadFile(theirs)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(a, b) {
				t.Errorf("our CAR has %d bytes, kubo's %d, and they differ", len(a), len(b))
			}
			got, err := content.ImportCAR(testContext(t), theirs, memStore(), nil)
			if err != nil {
				t.Fatal(err)
			}
			if got.Root != res.Root || got.Size != res.Size || got.Blocks != res.Blocks {
				t.Errorf("kubo's CAR gave %+v, the import %+v", got, res)
			}
		})
	}
}

// exportCAR writes what kubo has under a root.
func (k *kubo) exportCAR(root, dest string) {
	k.t.Helper()
	f, err := os.Create(dest)
	if err != nil {
		k.t.Fatal(err)
	}
	defer f.Close()
	cmd := k.command(testContext(k.t), "dag", "export", "--progress=false", root)
	var stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = f, &stderr
	if err := cmd.Run(); err != nil {
		k.t.Fatalf("ipfs dag export: %v\n%s", err, stderr.String())
	}
}
