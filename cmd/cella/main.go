// Cella is the network's program for people: node, storage and the command line of a decentralised confidential cloud.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/cosmos/cosmos-sdk/client"
	"github.com/cosmos/cosmos-sdk/client/flags"
	"github.com/cosmos/cosmos-sdk/server"
	"github.com/cosmos/cosmos-sdk/version"

	"github.com/cella-network/cella/chain/app"
)

func main() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(400) // blocks of a megabyte come and go, and each collection looks through all that the chain keeps in memory
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// The stock commands below `chain` and `keys` find their settings behind these keys.
	ctx = context.WithValue(ctx, client.ClientContextKey, &client.Context{})
	ctx = context.WithValue(ctx, server.ServerContextKey, server.NewDefaultContext())
	if err := root().ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		stop()
		os.Exit(exitCode(err))
	}
}

// exitCode is what an error wants the shell to see; 1 unless it says otherwise.
func exitCode(err error) int {
	var coded interface{ ExitCode() int }
	if errors.As(err, &coded) {
		return coded.ExitCode()
	}
	return 1
}

func root() *cobra.Command {
	version.Name, version.AppName = app.Name, app.Name
	cmd := &cobra.Command{
		Use:           "cella",
		Short:         "Store files on machines of strangers and prove that they are still there",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	cmd.PersistentFlags().String(flags.FlagHome, app.DefaultHome(), "folder of the node, its keys and its data")
	cmd.AddCommand(nodeCmd(), verifyCmd(), repairCmd(), putCmd(), getCmd(), lsCmd(), statCmd(), rmCmd())
	cmd.AddCommand(stakeCmd(), doctorCmd(), shareCmd(), moderationCmd(), keysCmd(), devnetCmd(), chainCmd(), version.NewVersionCommand())
	complete(cmd)
	return cmd
}
