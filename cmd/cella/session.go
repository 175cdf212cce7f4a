package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"

	"github.com/pelletier/go-toml/v2"
	"github.com/spf13/cobra"

	"github.com/cosmos/cosmos-sdk/client/flags"
	"github.com/cosmos/cosmos-sdk/codec"
	codectypes "github.com/cosmos/cosmos-sdk/codec/types"
	cryptocodec "github.com/cosmos/cosmos-sdk/crypto/codec"
	"github.com/cosmos/cosmos-sdk/crypto/keyring"

	"github.com/cella-network/cella/api/attest"
	"github.com/cella-network/cella/chain/app"
	"github.com/cella-network/cella/client"
	"github.com/cella-network/cella/devnet"
)

// place is where a command finds the network and its keys, before it talks to anybody.
type place struct {
	home    string
	nodes   []string // RPC of nodes; the first that answers is used
	key     string   // name of the key that speaks unless --from says otherwise; may be empty
	keys    string   // folder of the keyring
	backend string
}

// addNodeFlag and addKeyFlags declare what a command needs to find the network and to sign.
func addNodeFlag(cmd *cobra.Command) {
	cmd.Flags().String(flags.FlagNode, "", "RPC address of a node, http://HOST:PORT (else $CELLA_NODE, a running devnet, config/client.toml)")
}

func addKeyFlags(cmd *cobra.Command) {
	addNodeFlag(cmd)
	cmd.Flags().String(flags.FlagFrom, "", "name of the key that pays (else the devnet's user, or the only key in the keyring)")
	cmd.Flags().String(flags.FlagKeyringBackend, "", "where keys are kept: os, file, test (else config/client.toml)")
}

func addJSONFlag(cmd *cobra.Command) {
	cmd.Flags().Bool("json", false, "print facts for programs")
}

// find looks for the network: the flag, the environment, a devnet below the home, the home's client.toml.
func find(cmd *cobra.Command) (place, error) {
	var p place
	p.home, _ = cmd.Flags().GetString(flags.FlagHome)
	p.keys = p.home
	stock, err := clientConfig(p.home)
	if err != nil {
		return p, err
	}
	p.backend = stock.KeyringBackend
	net, err := devnet.ReadInfo(filepath.Join(p.home, "devnet"))
	if errors.Is(err, fs.ErrNotExist) {
		net, err = devnet.ReadInfo(p.home)
	}
	switch {
	case err == nil && len(net.Nodes) > 0:
		p.key, p.keys, p.backend = net.User.Key, net.User.Home, keyring.BackendTest
		for _, n := range net.Nodes {
			p.nodes = append(p.nodes, n.RPC)
		}
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return p, &client.Error{Kind: client.KindLocal, What: "devnet", Cause: err}
	case stock.Node != "":
		p.nodes = []string{stock.Node}
	}
	if n := os.Getenv("CELLA_NODE"); n != "" {
		p.nodes = []string{n}
	}
	if n, _ := cmd.Flags().GetString(flags.FlagNode); n != "" {
		p.nodes = []string{n}
	}
	if len(p.nodes) == 0 {
		return p, &client.Error{Kind: client.KindUsage, What: "no network is known here", Hint: "start one with cella devnet up, or name a node with --node or $CELLA_NODE"}
	}
	if f := cmd.Flags().Lookup(flags.FlagKeyringBackend); f != nil && f.Changed {
		p.backend = f.Value.String()
	}
	if f := cmd.Flags().Lookup(flags.FlagFrom); f != nil && f.Changed {
		p.key = f.Value.String()
	}
	return p, nil
}

// stockConfig is the part of config/client.toml that is read here; the stock commands write it.
type stockConfig struct {
	Node           string `toml:"node"`
	KeyringBackend string `toml:"keyring-backend"`
}

func clientConfig(home string) (stockConfig, error) {
	c := stockConfig{KeyringBackend: keyring.BackendOS}
	b, err := os.ReadFile(filepath.Join(home, "config", "client.toml"))
	if errors.Is(err, fs.ErrNotExist) {
		return c, nil
	}
	if err == nil {
		err = toml.Unmarshal(b, &c)
	}
	if err != nil {
		return c, &client.Error{Kind: client.KindLocal, What: "config/client.toml", Cause: err}
	}
	return c, nil
}

// account opens the keyring and the account that pays.
func (p place) account(cmd *cobra.Command, chain *client.Chain) (*client.Account, error) {
	registry := codectypes.NewInterfaceRegistry()
	cryptocodec.RegisterInterfaces(registry)
	open := func(dir, backend string) (keyring.Keyring, error) {
		kr, err := keyring.New(app.Name, backend, dir, cmd.InOrStdin(), codec.NewProtoCodec(registry))
		if err != nil {
			return nil, &client.Error{Kind: client.KindLocal, What: "keyring", Cause: err}
		}
		return kr, nil
	}
	kr, err := open(p.keys, p.backend)
	if err != nil {
		return nil, err
	}
	if p.key == "" {
		all, err := kr.List()
		if err != nil {
			return nil, &client.Error{Kind: client.KindLocal, What: "keyring", Cause: err}
		}
		if len(all) != 1 {
			return nil, &client.Error{Kind: client.KindUsage, What: fmt.Sprintf("the keyring holds %d keys", len(all)), Hint: "name one with --from; cella keys list shows them, cella keys add makes one"}
		}
		p.key = all[0].Name
	}
	if _, err := kr.Key(p.key); err != nil && p.keys != p.home {
		// In a devnet a key of one's own is as good as the devnet's user.
		if own, err := open(p.home, p.backend); err == nil {
			kr = own
		}
	}
	return client.NewAccount(chain, kr, p.key)
}

// session is an open connection, with an account if the command signs.
type session struct {
	*client.Client
	chain   *client.Chain
	account *client.Account
}

// connect finds the network, dials it and makes a Client; signs says whether the command needs an account.
func connect(ctx context.Context, cmd *cobra.Command, signs bool, progress func(client.Progress)) (*session, error) {
	p, err := find(cmd)
	if err != nil {
		return nil, err
	}
	chain, node, err := dial(ctx, p.nodes)
	if err != nil {
		return nil, err
	}
	s := &session{chain: chain}
	if signs {
		if s.account, err = p.account(cmd, chain); err != nil {
			return nil, err
		}
	}
	listen := []string{"/ip4/0.0.0.0/tcp/0", "/ip4/0.0.0.0/udp/0/quic-v1"}
	local, err := onLoopback(ctx, chain, node)
	if err != nil {
		return nil, err
	}
	if local {
		listen = []string{"/ip4/127.0.0.1/tcp/0"}
	}
	s.Client = client.New(client.Options{Home: p.home, Chain: chain, Account: s.account, Listen: listen, Loopback: local, Progress: progress})
	return s, nil
}

// dial returns the first node that answers; if none does, what the last one failed with.
func dial(ctx context.Context, nodes []string) (chain *client.Chain, node string, err error) {
	for _, node = range nodes {
		if chain, err = client.Dial(ctx, node); err == nil {
			break
		}
	}
	return chain, node, err
}

// onLoopback tells a network on one machine: a devnet whose node is reached over the loopback interface.
func onLoopback(ctx context.Context, chain *client.Chain, node string) (bool, error) {
	u, err := url.Parse(node)
	if err != nil {
		return false, err
	}
	ip := net.ParseIP(u.Hostname())
	if u.Hostname() != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return false, nil
	}
	r, err := chain.Attest.Params(ctx, &attest.QueryParamsRequest{})
	if err != nil {
		return false, err
	}
	return r.Params.Devnet, nil
}

func (s *session) close() {
	if s.account != nil {
		s.account.Close()
	}
}
