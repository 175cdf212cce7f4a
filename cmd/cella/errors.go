package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cella-network/cella/client"
)

// Exit codes beside 1, for scripts.
const (
	exitUsage       = 2
	exitNotFound    = 3
	exitNetwork     = 4
	exitRefused     = 5
	exitFunds       = 6
	exitBusy        = 7
	exitUnavailable = 8
	exitStopped     = 130
)

// failure is an error as a person sees it: one line, and where something can be done about it a second one that says what.
type failure struct{ err error }

func (f failure) Unwrap() error { return f.err }

func (f failure) Error() string {
	line := strings.Join(strings.Fields(f.err.Error()), " ")
	var e *client.Error
	if errors.As(f.err, &e) && e.Hint != "" {
		return line + "\nhint: " + e.Hint
	}
	return line
}

// ExitCode is what the shell sees.
func (f failure) ExitCode() int {
	var e *client.Error
	if !errors.As(f.err, &e) {
		return 1
	}
	switch e.Kind {
	case client.KindUsage:
		return exitUsage
	case client.KindNotFound:
		return exitNotFound
	case client.KindNetwork:
		return exitNetwork
	case client.KindRefused, client.KindUnproven:
		return exitRefused
	case client.KindFunds:
		return exitFunds
	case client.KindBusy:
		return exitBusy
	case client.KindUnavailable:
		return exitUnavailable
	case client.KindStopped:
		return exitStopped
	}
	return 1
}

// exactly wants one argument and says which.
func exactly(what string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		if len(args) != 1 {
			return fmt.Errorf("want one %s, got %d arguments", what, len(args))
		}
		return nil
	}
}

// explained makes a command's errors failures, those about its arguments and flags included.
func explained(cmd *cobra.Command) *cobra.Command {
	usage := func(err error) error {
		return failure{&client.Error{Kind: client.KindUsage, What: err.Error(), Hint: cmd.CommandPath() + " --help shows an example"}}
	}
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usage(err) })
	args, run := cmd.Args, cmd.RunE
	cmd.Args = func(cmd *cobra.Command, a []string) error {
		if err := args(cmd, a); err != nil {
			return usage(err)
		}
		return nil
	}
	cmd.RunE = func(cmd *cobra.Command, a []string) error {
		if err := run(cmd, a); err != nil {
			return failure{err}
		}
		return nil
	}
	return cmd
}
