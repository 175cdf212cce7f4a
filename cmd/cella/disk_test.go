package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strconv"

	"github.com/rogpeppe/go-internal/testscript"

	genutiltypes "github.com/cosmos/cosmos-sdk/x/genutil/types"

	"github.com/cella-network/cella/protocol/storageproof"
	"github.com/cella-network/cella/worker"
	"github.com/cella-network/cella/worker/disk"
)

// sealedHome HOME makes a storage node's home whose disk holds a free sector, two data sectors with an order each, and the table of
// report 7.
func sealedHome(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: sealedhome HOME")
	}
	ts.Check(makeSealedHome(ts.MkAbs(args[0])))
}

func makeSealedHome(home string) error {
	if err := os.MkdirAll(filepath.Join(home, "config"), 0o700); err != nil {
		return err
	}
	state := `{"work":{"params":{"sector_size":"` + strconv.Itoa(storageproof.MinSector) + `"}},"market":{"params":{"repair_blocks":"7200"}}}`
	genesis := genutiltypes.NewAppGenesisWithVersion("cella-test-1", json.RawMessage(state))
	if err := errors.Join(genesis.SaveAs(filepath.Join(home, "config", "genesis.json")),
		worker.Config{Key: "operator", Disk: worker.DiskConfig{Sectors: 8}}.Save(filepath.Join(home, "config", "cella.toml"))); err != nil {
		return err
	}
	d, err := disk.Open(filepath.Join(home, "disk"), 8, storageproof.MinSector)
	if err != nil {
		return err
	}
	defer d.Close()
	free, err := fillSector(d)
	if err != nil {
		return err
	}
	g := disk.Generation{Report: storageproof.Report{ChainID: "cella-test-1", Counter: 7, Height: 70}.Marshal(), Rows: []disk.Row{{Entry: free}}}
	for id := uint64(1); id <= 2; id++ {
		k := storageproof.BlockKey{Codec: storageproof.CodecRaw, Digest: sha256.Sum256([]byte{byte(id)})}
		row, err := sealSector(d, k)
		if err != nil {
			return err
		}
		g.Rows = append(g.Rows, row)
		g.Orders = append(g.Orders, storageproof.OrderRef{ID: id, Root: k.CID(), Size: storageproof.CellSize})
	}
	return errors.Join(d.Sync(), d.Save(g))
}

// fillSector makes a free sector of noise.
func fillSector(d *disk.Disk) (storageproof.Entry, error) {
	id, err := d.Reserve()
	if err != nil {
		return storageproof.Entry{}, err
	}
	if err := d.BeginFree(id); err != nil {
		return storageproof.Entry{}, err
	}
	g := d.Geometry()
	var leaves [][32]byte
	for first := uint32(0); first < g.FreeCells; first += storageproof.PageLeaves {
		n := min(storageproof.PageLeaves, g.FreeCells-first)
		cells := bytes.Repeat([]byte{byte(first)}, int(n)*storageproof.CellSize)
		page := make([]byte, storageproof.CellSize)
		for i := range n {
			sum := sha256.Sum256(cells[i*storageproof.CellSize : (i+1)*storageproof.CellSize])
			copy(page[i*storageproof.DigestSize:], sum[:])
		}
		if err := d.Fill(id, first, cells, page, first+n == g.FreeCells); err != nil {
			return storageproof.Entry{}, err
		}
		leaves = append(leaves, storageproof.LeafHash(page))
	}
	return storageproof.Entry{ID: id, Kind: storageproof.KindFree, Cells: g.FreeCells, Root: storageproof.FreeRoot(leaves)}, nil
}

// sealSector makes a data sector that holds one block of one cell, as a vault would.
func sealSector(d *disk.Disk, k storageproof.BlockKey) (disk.Row, error) {
	id, err := d.Reserve()
	if err != nil {
		return disk.Row{}, err
	}
	header := bytes.Repeat([]byte{9}, storageproof.CellSize)
	record := storageproof.Record{Key: k, Length: storageproof.CellSize}.Append(nil)
	tag := bytes.Repeat([]byte{7}, storageproof.TagSize)
	if err := errors.Join(d.BeginData(id, header), d.Append(id, 0, bytes.Repeat([]byte{5}, storageproof.CellSize), tag, record), d.Finish(id)); err != nil {
		return disk.Row{}, err
	}
	page := make([]byte, storageproof.CellSize)
	copy(page, tag)
	row := disk.Row{Tags: storageproof.TagRoot([][32]byte{storageproof.LeafHash(page)})}
	row.Entry = storageproof.Entry{ID: id, Kind: storageproof.KindData, Cells: 1,
		Root: storageproof.DataRoot(id, sha256.Sum256(header), 1, row.Tags, sha256.Sum256(record))}
	return row, nil
}

// flip FILE OFFSET turns one byte of a file.
func flip(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: flip FILE OFFSET")
	}
	at, err := strconv.ParseInt(args[1], 10, 64)
	ts.Check(err)
	f, err := os.OpenFile(ts.MkAbs(args[0]), os.O_RDWR, 0)
	ts.Check(err)
	defer f.Close()
	var p [1]byte
	_, err = f.ReadAt(p[:], at)
	ts.Check(err)
	p[0] ^= 1
	_, err = f.WriteAt(p[:], at)
	ts.Check(err)
}
