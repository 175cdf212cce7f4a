package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/cosmos/cosmos-sdk/client/flags"

	"github.com/cella-network/cella/client"
)

func shareCmd() *cobra.Command {
	var req client.ShareRequest
	var me bool
	cmd := &cobra.Command{
		Use:   "share NAME|ROOT --to RECIPIENT",
		Short: "Let others read an encrypted file: writes a small grant to send them, uploads nothing",
		Long: `Let others read an encrypted file: writes a small grant to send them, uploads nothing.

A recipient is a string that begins with age1. Each person prints the own one with cella share --me and sends it to whoever wants to share
something. The grant is itself encrypted for its recipients: it may travel by mail or chat. They run cella get --grant FILE.

A grant can't be taken back. Who has opened a file, or only the grant, keeps the key of that file, and reads it for as long as anybody holds it; so
does whoever was named by cella put --to. To keep a later version from somebody put that version anew, without that recipient.`,
		Example: `  cella share --me
  cella share diary --to age1qyqszqgpqyqszqgpqyqszqgpqyqszqgpqyqszqgpqyqszqgpqyqs3290gq
  cella share diary --to friends.txt -o diary.grant`,
		Args: func(cmd *cobra.Command, args []string) error {
			if me && len(args) > 0 {
				return errors.New("--me shares nothing: it prints your own recipient")
			}
			if me {
				return nil
			}
			return exactly("NAME or ROOT")(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			view := newView(cmd)
			if me {
				return printMe(cmd, view)
			}
			req.Ref = args[0]
			s, err := connect(cmd.Context(), cmd, false, nil)
			if err != nil {
				return err
			}
			defer s.close()
			res, err := s.Share(cmd.Context(), req)
			if err != nil {
				return err
			}
			if view.json {
				return view.facts(struct {
					Root       string   `json:"root"`
					Grant      string   `json:"grant"`
					Recipients []string `json:"recipients"`
				}{res.Root, res.Output, res.Recipients})
			}
			view.note("send it to its recipients (%d), who open it with cella get --grant; this can't be taken back", len(res.Recipients))
			fmt.Fprintln(view.out, res.Output)
			return nil
		},
	}
	f := cmd.Flags()
	f.StringSliceVar(&req.To, "to", nil, "recipient, age1..., or a file with one a line; may be given again")
	f.StringVarP(&req.Output, "output", "o", "", "where to write the grant; must not exist (default: the name and .grant, here)")
	f.BoolVar(&me, "me", false, "print your own recipient, which others need to share with you")
	addNodeFlag(cmd)
	addJSONFlag(cmd)
	return explained(cmd)
}

// printMe needs no network.
func printMe(cmd *cobra.Command, view *view) error {
	home, _ := cmd.Flags().GetString(flags.FlagHome)
	r, err := client.New(client.Options{Home: home}).Recipient()
	if err != nil {
		return err
	}
	if view.json {
		return view.facts(struct {
			Recipient string `json:"recipient"`
		}{r})
	}
	fmt.Fprintln(view.out, r)
	return nil
}
