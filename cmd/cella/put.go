package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cella-network/cella/client"
)

func putCmd() *cobra.Command {
	var req client.PutRequest
	cmd := &cobra.Command{
		Use:   "put FILE|DIR",
		Short: "Store a file or folder on the network",
		Long: `Store a file or folder on the network.

The blocks are served from this machine until every replica that was asked for is proven on the chain; then the command prints the root and returns, and the
file no longer needs this machine. If it is interrupted, run it again: it takes up the order that was paid for.

A file is stored in replicas, or in shards: with --code 4+2 six operators hold one shard each, any four of them restore the file, and it takes 1.5 times its size
instead of 3 times. auto uses 8+4 for files from 256 MiB on if 13 operators have room, 4+2 if 7 have, and replicas otherwise. Whoever knows the root reads a coded file
like any other.

What isn't encrypted can be read by everybody who knows its root, the operators that hold it included. With --encrypt only the key in
config/age.key of the home opens it; a folder is packed first, so that names and sizes of its files are hidden too. Keep a copy of that key.
With --to others can open it too, each with a key of their own (cella share --me prints theirs); cella share adds people later without uploading
again. Neither can be taken back.`,
		Example: `  cella put photos --replicas 3 --days 30
  cella put diary.txt --encrypt --name diary
  cella put plans --encrypt --to age1qyqszqgpqyqszqgpqyqszqgpqyqszqgpqyqszqgpqyqszqgpqyqs3290gq --to friends.txt
  cella put --car site.car --name site`,
		Args: exactly("FILE or DIR"),
		RunE: func(cmd *cobra.Command, args []string) error {
			req.Path = args[0]
			view := newView(cmd)
			defer view.close()
			s, err := connect(cmd.Context(), cmd, true, view.progress)
			if err != nil {
				return err
			}
			defer s.close()
			res, err := s.Put(cmd.Context(), req)
			if err != nil {
				return err
			}
			view.close()
			if view.json {
				return view.facts(struct {
					Root         string `json:"root"`
					Name         string `json:"name"`
					Size         uint64 `json:"size"`
					Replicas     uint32 `json:"replicas"`
					Order        uint64 `json:"order"`
					Escrow       uint64 `json:"escrow"`
					Acknowledged int64  `json:"acknowledged"`
					Encrypted    bool   `json:"encrypted"`
					Resumed      bool   `json:"resumed"`
					Chain        string `json:"chain"`
					Code         string `json:"code,omitempty"`
					Manifest     string `json:"manifest,omitempty"`
				}{res.Root, res.Name, res.Size, res.Replicas, res.Order, res.Escrow, res.Acknowledged, res.Encrypted, res.Resumed, res.Chain, res.Code, res.Manifest})
			}
			how := fmt.Sprintf("in %d replicas, order %d", res.Replicas, res.Order)
			if res.Code != "" {
				how = fmt.Sprintf("in %d shards of which %s restore it, orders from %d on", len(res.Shards), strings.Split(res.Code, "+")[0], res.Order)
			}
			view.note("%s %s, %s in escrow", bytesWords(res.Size), how, coins(res.Escrow))
			fmt.Fprintf(view.out, "%s  %s\n", res.Root, res.Name)
			return nil
		},
	}
	f := cmd.Flags()
	f.Uint32Var(&req.Replicas, "replicas", 3, "operators that hold it, each another one")
	f.StringVar(&req.Code, "code", client.CodeAuto, "shards instead of replicas, such as 4+2; none: replicas")
	f.Uint32Var(&req.Days, "days", 30, "how long they are paid")
	f.Uint64Var(&req.Price, "price", 0, "most to pay, in ucella per GiB-day and replica (default: what enough operators ask now)")
	f.BoolVar(&req.Encrypt, "encrypt", false, "encrypt for the key in config/age.key, which is made on first use")
	f.StringSliceVar(&req.To, "to", nil, "with --encrypt: also for this recipient, age1..., or those in a file; may be given again")
	f.StringVar(&req.Name, "name", "", "name in the catalogue (default: the file's)")
	f.BoolVar(&req.CAR, "car", false, "the file is a CAR with one root: store its blocks as they are")
	addKeyFlags(cmd)
	addJSONFlag(cmd)
	return explained(cmd)
}
