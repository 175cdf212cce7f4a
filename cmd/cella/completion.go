package main

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cosmos/cosmos-sdk/client/flags"
	"github.com/cosmos/cosmos-sdk/crypto/keyring"

	"github.com/cella-network/cella/client"
	"github.com/cella-network/cella/devnet"
	"github.com/cella-network/cella/worker/journal"
)

// complete teaches the shell what may follow: names of the catalogue, of keys and of rules, and nothing where a command takes nothing. Cobra's
// own `cella completion` writes the script for the shell. It reads files of the home only; whatever fails completes nothing.
func complete(cmd *cobra.Command) {
	for _, c := range cmd.Commands() {
		switch {
		case c.Name() == "chain" || c.Name() == "keys": // the stock trees bring their own
			continue
		case strings.HasSuffix(c.Use, "ROOT|NAME"):
			c.ValidArgsFunction = completeNames
		case c.ValidArgsFunction == nil && !strings.Contains(c.Use, " "):
			c.ValidArgsFunction = cobra.NoFileCompletions
		}
		for flag, values := range map[string]cobra.CompletionFunc{
			flags.FlagFrom:           completeKeys,
			flags.FlagKeyringBackend: cobra.FixedCompletions([]cobra.Completion{keyring.BackendOS, keyring.BackendFile, keyring.BackendTest}, cobra.ShellCompDirectiveNoFileComp),
			flags.FlagNode:           cobra.NoFileCompletions,
			"rule":                   completeRules,
		} {
			if c.Flags().Lookup(flag) != nil {
				_ = c.RegisterFlagCompletionFunc(flag, values) // fails for a flag that has one
			}
		}
		complete(c)
	}
	if f := cmd.PersistentFlags().Lookup(flags.FlagHome); f != nil && !cmd.HasParent() {
		_ = cmd.MarkPersistentFlagDirname(flags.FlagHome)
	}
}

// completeNames offers what was put from this home; a root is too long to be typed and is not offered.
func completeNames(cmd *cobra.Command, args []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
	home, err := cmd.Flags().GetString(flags.FlagHome)
	if err != nil || len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	all, err := client.New(client.Options{Home: home}).List()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var out []cobra.Completion
	for _, e := range all {
		if strings.HasPrefix(e.Name, typed) && !strings.ContainsAny(e.Name, "\t\n\r") {
			out = append(out, cobra.CompletionWithDesc(e.Name, fmt.Sprintf("%s, put %s", bytesWords(e.Size), e.Created.Local().Format("2006-01-02"))))
		}
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

// completeKeys offers the keys of a keyring that asks for no password.
func completeKeys(cmd *cobra.Command, _ []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
	home, _ := cmd.Flags().GetString(flags.FlagHome)
	stock, err := clientConfig(home)
	backend := stock.KeyringBackend
	if net, e := devnet.ReadInfo(filepath.Join(home, "devnet")); e == nil {
		home, backend = net.User.Home, keyring.BackendTest
	}
	if f := cmd.Flags().Lookup(flags.FlagKeyringBackend); f != nil && f.Changed {
		backend = f.Value.String()
	}
	if err != nil || backend != keyring.BackendTest {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	kr, err := openKeyring(home, backend, nil)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	records, err := kr.List()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var out []cobra.Completion
	for _, r := range records {
		if strings.HasPrefix(r.Name, typed) {
			out = append(out, r.Name)
		}
	}
	return out, cobra.ShellCompDirectiveNoFileComp
}

// completeRules offers the kinds of a ledger's entries.
func completeRules(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return []cobra.Completion{
		string(journal.KindPay), string(journal.KindPenalty), string(journal.KindWarning), string(journal.KindLifted), string(journal.KindReplica),
		string(journal.KindCollateral), string(journal.KindStake), string(journal.KindEscrow), string(journal.KindCompensation),
		string(journal.KindFee), string(journal.KindTransfer), string(journal.KindDelegation), string(journal.KindReward), string(journal.KindOther),
	}, cobra.ShellCompDirectiveNoFileComp
}
