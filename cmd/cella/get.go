package main

import (
	"errors"
	"fmt"
	"strings"

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
What was put with --encrypt is decrypted with the key in config/age.key; what somebody shared is named and opened by the grant that they sent.`,
		Example: `  cella get photos -o /tmp/photos
  cella get bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi -o page.html
  cella get site --car -o site.car
  cella get --grant diary.grant`,
		Args: func(cmd *cobra.Command, args []string) error {
			if req.Grant == "" {
				return exactly("ROOT or NAME")(cmd, args)
			}
			if len(args) > 0 {
				return errors.New("a grant names its root itself: leave " + args[0] + " away")
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			req.Ref = strings.Join(args, "")
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
					Made   uint64 `json:"made"`
				}{res.Root, res.Output, res.Size, res.Made})
			}
			if res.Made > 0 {
				view.note("%d blocks that no holder sent were made of others", res.Made)
			}
			fmt.Fprintln(view.out, res.Output)
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVarP(&req.Output, "output", "o", "", "where to write it; must not exist (default: its name or root, here)")
	f.BoolVar(&req.CAR, "car", false, "write the blocks, as they are stored, into a CAR (version 1)")
	f.StringVar(&req.Grant, "grant", "", "open what somebody shared with you by this file, which cella share wrote")
	f.BoolVar(&req.Decrypt, "decrypt", false, "decrypt with config/age.key, for what the catalogue does not know")
	addNodeFlag(cmd)
	addJSONFlag(cmd)
	return explained(cmd)
}
