package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/cosmos/cosmos-sdk/client/flags"
	genutiltypes "github.com/cosmos/cosmos-sdk/x/genutil/types"

	"github.com/cella-network/cella/client"
	"github.com/cella-network/cella/protocol/storageproof"
	"github.com/cella-network/cella/worker"
	"github.com/cella-network/cella/worker/disk"
)

// sealed is the disk of a node's home.
type sealed struct {
	dir        string
	sectorSize uint64
	repair     int64 // blocks in which a lost replica may be proven again, as genesis had it; 0: unknown
}

func findSealed(home string) (sealed, error) {
	cfg, err := worker.LoadConfig(filepath.Join(home, "config", "cella.toml"))
	if err != nil {
		return sealed{}, &client.Error{Kind: client.KindUsage, What: "this is no storage node's home", Cause: err, Hint: "name it with --home"}
	}
	genesis, err := genutiltypes.AppGenesisFromFile(filepath.Join(home, "config", "genesis.json"))
	if err != nil {
		return sealed{}, &client.Error{Kind: client.KindLocal, What: "genesis", Cause: err, Hint: "put the chain's genesis.json into config/ of the home"}
	}
	d := sealed{dir: diskDir(home, cfg)}
	d.sectorSize, d.repair, err = genesisDisk(genesis.AppState)
	return d, err
}

// genesisDisk reads what the chain fixed about sectors, and how long a repair may take.
func genesisDisk(state json.RawMessage) (sectorSize uint64, repair int64, err error) {
	var s struct {
		Work struct {
			Params struct {
				SectorSize uint64 `json:"sector_size,string"`
			} `json:"params"`
		} `json:"work"`
		Market struct {
			Params struct {
				RepairBlocks int64 `json:"repair_blocks,string"`
			} `json:"params"`
		} `json:"market"`
	}
	if err := json.Unmarshal(state, &s); err != nil || s.Work.Params.SectorSize == 0 {
		return 0, 0, &client.Error{Kind: client.KindUsage, What: "the genesis names no sector size", Cause: err}
	}
	return s.Work.Params.SectorSize, s.Market.Params.RepairBlocks, nil
}

// faults is what `verify` and `repair` show.
type faults struct {
	Dir    string   `json:"dir"`
	Report uint64   `json:"report"` // counter of the report whose roots were compared
	Height int64    `json:"height"` // of that report
	Free   int      `json:"free"`   // sectors, as the next
	Data   int      `json:"data"`
	Deep   bool     `json:"deep"`
	Read   uint64   `json:"bytes_read"`
	Faults []fault  `json:"faults"`
	Orders int      `json:"orders"`        // that the report names
	Broken []uint64 `json:"broken_orders"` // those that need a faulty sector

	seen storageproof.Report // the report itself
}

type fault struct {
	Sector uint32 `json:"sector"`
	Kind   string `json:"kind"`
	What   string `json:"what"`
}

func verifyCmd() *cobra.Command {
	var deep bool
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Check the sealed files on this disk against the last report that the chain accepted",
		Long: `Check the sealed files on this disk against the last report that the chain accepted: the size of each sector, its pages of tags or digests,
its header and its directory must lead to the roots in that report. It changes nothing and needs no key; the node may run or not.

--deep also reads every cell. Those of free sectors are checked against their digests. Those of data sectors only the enclave can check, which it does
with each draw; here it shows whether the disk still gives them back.`,
		Example: `  cella verify
  cella verify --deep --json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			home, _ := cmd.Flags().GetString(flags.FlagHome)
			d, err := findSealed(home)
			if err != nil {
				return err
			}
			view := newView(cmd)
			f, err := d.verify(cmd.Context(), view, deep)
			if err != nil {
				return err
			}
			if view.json {
				if err := view.facts(f); err != nil {
					return err
				}
			} else {
				f.write(view.out)
			}
			if len(f.Faults) == 0 {
				return nil
			}
			return &client.Error{Kind: client.KindLocal, What: fmt.Sprintf("%d of %d sectors are not what the chain accepted", len(f.Faults), f.Free+f.Data),
				Hint: "a running node mends what its draws find; else stop it and run cella repair"}
		},
	}
	cmd.Flags().BoolVar(&deep, "deep", false, "read every cell; that takes as long as reading the whole disk")
	addJSONFlag(cmd)
	return explained(cmd)
}

const stageVerify client.Stage = "verify"

// verify surveys the disk and shows how far it is.
func (d sealed) verify(ctx context.Context, v *view, deep bool) (faults, error) {
	defer v.close()
	s, err := disk.Verify(ctx, d.dir, d.sectorSize, disk.VerifyOptions{Deep: deep, Progress: func(done, total int) {
		if total > 0 {
			v.progress(client.Progress{Stage: stageVerify, Done: uint64(done) * d.sectorSize, Total: uint64(total) * d.sectorSize})
		}
	}})
	switch {
	case errors.Is(err, disk.ErrMissing) || errors.Is(err, disk.ErrGeneration):
		return faults{}, &client.Error{Kind: client.KindLocal, What: "there is nothing to compare with", Cause: err,
			Hint: "before the first accepted report that is so; else bring the disk folder back, or declare it lost with cella repair --lost"}
	case err != nil:
		return faults{}, &client.Error{Kind: client.KindLocal, What: "the disk can't be checked", Cause: err}
	}
	f := faults{Dir: d.dir, Report: s.Report.Counter, Height: s.Report.Height, Free: s.Free, Data: s.Data, Deep: deep, Read: s.Bytes,
		Faults: []fault{}, Orders: len(s.Orders), Broken: []uint64{}, seen: s.Report}
	for _, x := range s.Faults {
		kind := "data"
		if x.Kind == storageproof.KindFree {
			kind = "free"
		}
		f.Faults = append(f.Faults, fault{Sector: x.Sector, Kind: kind, What: x.What})
	}
	for _, o := range s.Broken {
		f.Broken = append(f.Broken, o.ID)
	}
	return f, nil
}

func (f faults) write(out io.Writer) {
	fmt.Fprintf(out, "disk      %s\nreport    %d, of block %d\nsectors   %d free, %d data; %s read\n", f.Dir, f.Report, f.Height, f.Free, f.Data, bytesWords(f.Read))
	for _, x := range f.Faults {
		fmt.Fprintf(out, "sector    %06d (%s): %s\n", x.Sector, x.Kind, x.What)
	}
	if len(f.Faults) == 0 {
		fmt.Fprintf(out, "all sectors are what the chain accepted; %d orders\n", f.Orders)
		return
	}
	fmt.Fprintf(out, "orders    %d of %d need a sector that is not what it should be", len(f.Broken), f.Orders)
	for i, id := range f.Broken {
		switch {
		case i == 0:
			fmt.Fprint(out, ": ")
		case i == 20:
			fmt.Fprint(out, ", ...")
		case i < 20:
			fmt.Fprint(out, ", ")
		}
		if i < 20 {
			fmt.Fprint(out, id)
		}
	}
	fmt.Fprintln(out)
}

// stopped makes sure that no node uses the disk.
func (d sealed) stopped() error {
	err := disk.Free(d.dir)
	if errors.Is(err, disk.ErrLocked) {
		return &client.Error{Kind: client.KindBusy, What: "a node uses this disk", Cause: err, Hint: "stop it first; while it runs it mends by itself what its draws find"}
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return &client.Error{Kind: client.KindLocal, What: "disk", Cause: err}
	}
	return nil
}
