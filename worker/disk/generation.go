package disk

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/crypto/cryptobyte"

	"github.com/cella-network/cella/protocol/storageproof"
)

const domainGeneration = "cella/generation/v1"

// Generation is what one report names: the sector table and the orders that are held after it, beside the signed report
// itself. Rows and orders are in rising order of their ids.
type Generation struct {
	Report []byte // canonical encoding of storageproof.Report
	Sig    [64]byte
	Rows   []Row
	Orders []storageproof.OrderRef
}

// Row is a row of the table with what the enclave gave beside it: the tag root of a data sector, zero for a free one.
type Row struct {
	storageproof.Entry
	Tags [32]byte
}

// ErrGeneration says that a table file can't be read.
var ErrGeneration = errors.New("damaged table generation")

// Save makes a generation durable before its report is posted. It replaces nothing: a report that was posted before may
// still be the one that the chain accepts.
func (d *Disk) Save(g Generation) error {
	r, err := storageproof.UnmarshalReport(g.Report)
	if err != nil {
		return err
	}
	data := g.marshal()
	path := d.tablePath(r.Counter, sha256.Sum256(g.Report))
	tmp := path + ".tmp"
	if err := d.remake(); err != nil {
		return err
	}
	if err := writeSynced(tmp, data); err != nil {
		os.Remove(tmp)
		return d.full(err, uint64(len(data)))
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// Load finds the generation of the report with the given hash.
func (d *Disk) Load(report [32]byte) (Generation, error) {
	names, err := d.tables()
	if err != nil {
		return Generation{}, err
	}
	for _, name := range names {
		if !strings.HasSuffix(name, tableSuffix(report)) {
			continue
		}
		data, err := os.ReadFile(filepath.Join(d.dir, "index", name))
		if err != nil {
			return Generation{}, err
		}
		g, err := unmarshalGeneration(data)
		if err != nil {
			return Generation{}, fmt.Errorf("%s: %w", name, err)
		}
		if sha256.Sum256(g.Report) == report {
			return g, nil
		}
	}
	return Generation{}, fmt.Errorf("table of report %x: %w", report[:8], ErrMissing)
}

// Keep removes all generations but those of the given reports: the one that the chain accepted last, and those that it may
// still accept.
func (d *Disk) Keep(reports ...[32]byte) error {
	names, err := d.tables()
	if err != nil {
		return err
	}
	for _, name := range names {
		kept := slices.ContainsFunc(reports, func(r [32]byte) bool { return strings.HasSuffix(name, tableSuffix(r)) })
		if !kept {
			if err := os.Remove(filepath.Join(d.dir, "index", name)); err != nil {
				return err
			}
		}
	}
	return nil
}

func (d *Disk) tables() ([]string, error) {
	files, err := os.ReadDir(filepath.Join(d.dir, "index"))
	if err != nil {
		return nil, err
	}
	var names []string
	for _, f := range files {
		if strings.HasPrefix(f.Name(), "table-") && !strings.HasSuffix(f.Name(), ".tmp") {
			names = append(names, f.Name())
		}
	}
	return names, nil
}

// clearTemporaries removes tables that were never finished.
func (d *Disk) clearTemporaries() error {
	return d.clear(func(name string) bool { return strings.HasSuffix(name, ".tmp") })
}

// clearDirectories removes directories whose sector is gone. Not before the standing is confirmed: sectors/ may be a file system of its
// own that comes back.
func (d *Disk) clearDirectories() error {
	return d.clear(func(name string) bool {
		id, isDir := strings.CutSuffix(name, ".dir")
		_, err := os.Stat(filepath.Join(d.dir, "sectors", id))
		return isDir && errors.Is(err, os.ErrNotExist)
	})
}

// clear removes the files of index/ that are litter.
func (d *Disk) clear(litter func(name string) bool) error {
	files, err := os.ReadDir(filepath.Join(d.dir, "index"))
	if err != nil {
		return err
	}
	for _, f := range files {
		if litter(f.Name()) {
			if err := os.Remove(filepath.Join(d.dir, "index", f.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

func (d *Disk) tablePath(counter uint64, report [32]byte) string {
	return filepath.Join(d.dir, "index", fmt.Sprintf("table-%d%s", counter, tableSuffix(report)))
}

func tableSuffix(report [32]byte) string { return "-" + hex.EncodeToString(report[:8]) }

func (g Generation) marshal() []byte {
	var b cryptobyte.Builder
	b.AddUint16LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes([]byte(domainGeneration)) })
	b.AddUint24LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(g.Report) })
	b.AddBytes(g.Sig[:])
	b.AddUint32(uint32(len(g.Rows)))
	for _, r := range g.Rows {
		b.AddBytes(r.Append(nil))
		b.AddBytes(r.Tags[:])
	}
	b.AddUint32(uint32(len(g.Orders)))
	for _, o := range g.Orders {
		b.AddUint64(o.ID)
		b.AddUint8LengthPrefixed(func(b *cryptobyte.Builder) { b.AddBytes(o.Root) })
		b.AddUint64(o.Size)
	}
	body := b.BytesOrPanic()
	sum := sha256.Sum256(body)
	return append(body, sum[:]...)
}

func unmarshalGeneration(p []byte) (Generation, error) {
	var g Generation
	if len(p) < sha256.Size {
		return g, ErrGeneration
	}
	body, sum := p[:len(p)-sha256.Size], p[len(p)-sha256.Size:]
	if want := sha256.Sum256(body); !bytes.Equal(want[:], sum) {
		return g, ErrGeneration
	}
	var domain, report, root cryptobyte.String
	var n uint32
	s := cryptobyte.String(body)
	if !s.ReadUint16LengthPrefixed(&domain) || string(domain) != domainGeneration ||
		!s.ReadUint24LengthPrefixed(&report) || !s.CopyBytes(g.Sig[:]) ||
		!s.ReadUint32(&n) {
		return Generation{}, ErrGeneration
	}
	g.Report = append([]byte(nil), report...)
	for range n {
		var row []byte
		if !s.ReadBytes(&row, storageproof.EntrySize) {
			return Generation{}, ErrGeneration
		}
		e, err := storageproof.UnmarshalEntry(row)
		if err != nil {
			return Generation{}, ErrGeneration
		}
		r := Row{Entry: e}
		if !s.CopyBytes(r.Tags[:]) {
			return Generation{}, ErrGeneration
		}
		g.Rows = append(g.Rows, r)
	}
	if !s.ReadUint32(&n) {
		return Generation{}, ErrGeneration
	}
	for range n {
		var o storageproof.OrderRef
		if !s.ReadUint64(&o.ID) || !s.ReadUint8LengthPrefixed(&root) || !s.ReadUint64(&o.Size) {
			return Generation{}, ErrGeneration
		}
		o.Root = append([]byte(nil), root...)
		g.Orders = append(g.Orders, o)
	}
	if !s.Empty() {
		return Generation{}, ErrGeneration
	}
	return g, nil
}

func writeSynced(path string, data []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}
