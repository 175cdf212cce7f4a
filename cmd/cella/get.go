package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/cella-network/cella/client"
)

func getCmd() *cobra.Command {
	var req client.GetRequest
	cmd := &cobra.Command{
		Use:   "get ROOT|NAME",
		Short: "Read a file or folder back from the network",
		Long: `Read a file or folder back from the network.

The chain names the holders; every block is checked by its hash, so no holder needs to be trusted. If it is interrupted, run it again: what came is kept.
What was put with --encrypt is decrypted with the key in config/age.key.`,
		Example: `  cella get photos -o /tmp/photos
  cella get bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi -o page.html`,
		Args: exactly("ROOT or NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			req.Ref = args[0]
			view := newView(cmd)
			defer view.close()
			s, err := connect(cmd.Context(), cmd, false, view.progress)
			if err != nil {
				return err
			}
			defer s.close()
			res, err := s.Get(cmd.Context(), req)
			if err != nil {
				return err
			}
			view.close()
			if view.json {
				return view.facts(struct {
					Root   string `json:"root"`
					Output string `json:"output"`
					Size   uint64 `json:"size"`
				}{res.Root, res.Output, res.Size})
			}
			fmt.Fprintln(view.out, res.Output)
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVarP(&req.Output, "output", "o", "", "where to write it; must not exist (default: its name or root, here)")
	f.BoolVar(&req.Decrypt, "decrypt", false, "decrypt with config/age.key, for what the catalogue does not know")
	addNodeFlag(cmd)
	addJSONFlag(cmd)
	return explained(cmd)
}
