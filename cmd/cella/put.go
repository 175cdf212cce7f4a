package main

import (
	"fmt"

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

What isn't encrypted can be read by everybody who knows its root, the operators that hold it included. With --encrypt only the key in
config/age.key of the home opens it; a folder is packed first, so that names and sizes of its files are hidden too. Keep a copy of that key.`,
		Example: `  cella put photos --replicas 3 --days 30
  cella put diary.txt --encrypt --name diary`,
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
				}{res.Root, res.Name, res.Size, res.Replicas, res.Order, res.Escrow, res.Acknowledged, res.Encrypted, res.Resumed, res.Chain})
			}
			view.note("%s in %d replicas, order %d, %s in escrow", bytesWords(res.Size), res.Replicas, res.Order, coins(res.Escrow))
			fmt.Fprintf(view.out, "%s  %s\n", res.Root, res.Name)
			return nil
		},
	}
	f := cmd.Flags()
	f.Uint32Var(&req.Replicas, "replicas", 3, "operators that hold it, each another one")
	f.Uint32Var(&req.Days, "days", 30, "how long they are paid")
	f.Uint64Var(&req.Price, "price", 0, "most to pay, in ucella per GiB-day and replica (default: what enough operators ask now)")
	f.BoolVar(&req.Encrypt, "encrypt", false, "encrypt for the key in config/age.key, which is made on first use")
	f.StringVar(&req.Name, "name", "", "name in the catalogue (default: the file's)")
	addKeyFlags(cmd)
	addJSONFlag(cmd)
	return explained(cmd)
}
