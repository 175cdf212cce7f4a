package main

import (
	"github.com/spf13/cobra"

	"github.com/cosmos/cosmos-sdk/client/keys"
)

// keysCmd is the stock tree, on the keyring that every other command uses.
func keysCmd() *cobra.Command {
	cmd := keys.Commands()
	cmd.Short = "Make, show and back up the keys of your accounts"
	cmd.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		a, err := offlineApp(cmd)
		if err != nil {
			return err
		}
		return setClientContext(cmd, a)
	}
	return cmd
}
