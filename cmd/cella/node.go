package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
	"github.com/pelletier/go-toml/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"github.com/cosmos/cosmos-sdk/client/flags"
	"github.com/cosmos/cosmos-sdk/codec"
	codectypes "github.com/cosmos/cosmos-sdk/codec/types"
	cryptocodec "github.com/cosmos/cosmos-sdk/crypto/codec"
	"github.com/cosmos/cosmos-sdk/crypto/hd"
	"github.com/cosmos/cosmos-sdk/crypto/keyring"
	sdk "github.com/cosmos/cosmos-sdk/types"
	genutiltypes "github.com/cosmos/cosmos-sdk/x/genutil/types"

	"github.com/cella-network/cella/chain/app"
	"github.com/cella-network/cella/chain/node"
	"github.com/cella-network/cella/client"
	"github.com/cella-network/cella/content"
	"github.com/cella-network/cella/worker"
	"github.com/cella-network/cella/worker/host"
)

// nodeCmd runs a storage node.
func nodeCmd() *cobra.Command {
	cmd := &cobra.Command{Use: "node", Short: "Run a node that stores other people's files and earns by it"}
	cmd.AddCommand(nodeInitCmd(), nodeStartCmd(), nodeStatusCmd(), drainCmd(), explainCmd())
	return cmd
}

// nodePlan is what `node init` is told.
type nodePlan struct {
	home, genesis, peers, moniker string
	key, backend, enclave         string
	disk, dir                     string
	sectors                       uint32
	price                         uint64
	listen, announce              []string
	systemd                       bool
	unit, user                    string
}

func nodeInitCmd() *cobra.Command {
	var p nodePlan
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Make the home of a storage node of an existing chain: keys, settings and, with --systemd, a service; it asks nothing",
		Example: `  cella node init --genesis genesis.json --peers ID@HOST:26656 --disk 500GiB
  cella node init --genesis genesis.json --peers ID@HOST:26656 --sectors 200 --price 1000000 --systemd`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			p.home, _ = cmd.Flags().GetString(flags.FlagHome)
			if err := p.create(cmd.OutOrStdout()); err != nil || !p.systemd {
				return err
			}
			return writeUnit(cmd.OutOrStdout(), p.home, p.unit, p.user)
		},
	}
	f := cmd.Flags()
	f.StringVar(&p.genesis, "genesis", "", "genesis file of the chain to join (required)")
	f.StringVar(&p.peers, "peers", "", "nodes to connect to: ID@HOST:PORT, separated by commas")
	f.StringVar(&p.moniker, "moniker", "", "what the node calls itself (default: the host's name)")
	f.StringVar(&p.key, "key", "operator", "name of the operator's key; it is made unless it is there")
	f.StringVar(&p.backend, flags.FlagKeyringBackend, keyring.BackendTest, "where the key is kept: test needs no password at start, so keep little on it")
	f.StringVar(&p.enclave, "enclave", "", "path of cella-enclave (default: beside this program)")
	f.StringVar(&p.disk, "disk", "100GiB", "how much of the disk the node may use, such as 500GiB")
	f.Uint32Var(&p.sectors, "sectors", 0, "the same in sectors; goes before --disk")
	f.StringVar(&p.dir, "dir", "", "folder of the sectors (default: disk/ in the home)")
	f.Uint64Var(&p.price, "price", 1_000_000, "what the node asks, in ucella per GiB-day and replica; 0 offers nothing")
	f.StringSliceVar(&p.listen, "listen", []string{"/ip4/0.0.0.0/tcp/4001", "/ip4/0.0.0.0/udp/4001/quic-v1"}, "multiaddrs on which content is served")
	f.StringSliceVar(&p.announce, "announce", nil, "multiaddrs to tell others (default: the listening ones)")
	f.BoolVar(&p.systemd, "systemd", false, "write a systemd unit that runs the node; for a home that is there already, that alone")
	f.StringVar(&p.unit, "unit", "", "where to write the unit (default: "+systemUnit+" as root, else config/cella.service in the home)")
	f.StringVar(&p.user, "user", "", "who runs the node, in the unit (default: you; as root: cella)")
	return explained(cmd)
}

func (p nodePlan) create(out io.Writer) error {
	path := filepath.Join(p.home, "config", "cella.toml")
	if _, err := os.Stat(path); err == nil {
		if p.systemd && p.genesis == "" {
			return nil
		}
		return &client.Error{Kind: client.KindUsage, What: p.home + " is a node's home already", Hint: "edit " + path + ", or name another folder with --home"}
	}
	if p.genesis == "" {
		return &client.Error{Kind: client.KindUsage, What: "--genesis names no file", Hint: "it is the genesis file of the chain to join"}
	}
	genesis, err := genutiltypes.AppGenesisFromFile(p.genesis)
	if err != nil {
		return &client.Error{Kind: client.KindUsage, What: "genesis", Cause: err}
	}
	if err := p.size(genesis); err != nil {
		return err
	}
	s := node.DefaultSettings()
	if s.Comet.Moniker = p.moniker; p.moniker == "" {
		s.Comet.Moniker, _ = os.Hostname()
	}
	s.Comet.P2P.PersistentPeers = p.peers
	if err := s.Write(p.home); err != nil {
		return err
	}
	if err := genesis.SaveAs(filepath.Join(p.home, "config", "genesis.json")); err != nil {
		return err
	}
	stock, err := toml.Marshal(map[string]string{"chain-id": genesis.ChainID, "keyring-backend": p.backend, "keyring-default-keyname": p.key,
		"output": "text", "node": s.Comet.RPC.ListenAddress, "broadcast-mode": "sync"})
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(p.home, "config", "client.toml"), stock, 0o644); err != nil {
		return err
	}
	address, words, err := p.operator()
	if err != nil {
		return err
	}
	if err := (worker.Config{
		Key: p.key, Enclave: p.enclave,
		Disk:    worker.DiskConfig{Dir: p.dir, Sectors: p.sectors},
		Ask:     worker.AskConfig{Price: p.price, MaxSize: 64 << 30},
		Content: worker.ContentConfig{Listen: p.listen, Announce: p.announce},
	}).Save(path); err != nil {
		return err
	}
	fmt.Fprintf(out, "home      %s\nchain     %s\noperator  %s (key %q)\nsectors   %d\n", p.home, genesis.ChainID, address, p.key, p.sectors)
	if words != "" {
		fmt.Fprintf(out, "\nWrite these words down; whoever has them has the operator's coins:\n\n  %s\n", words)
	}
	fmt.Fprintf(out, "\nThe operator pays fees and an entry stake: send coins to it, then run\n\n  cella node start --home %s\n", p.home)
	return nil
}

// size works out the quota in sectors.
func (p *nodePlan) size(genesis *genutiltypes.AppGenesis) error {
	if p.sectors > 0 {
		return nil
	}
	sectorSize, _, err := genesisDisk(genesis.AppState)
	if err != nil {
		return &client.Error{Kind: client.KindUsage, Cause: err, Hint: "give the quota in --sectors"}
	}
	n, err := humanize.ParseBytes(p.disk)
	if err != nil {
		return &client.Error{Kind: client.KindUsage, What: "--disk " + p.disk, Cause: err, Hint: "write 500GiB or 2TB"}
	}
	p.sectors = uint32(min(n/sectorSize, 999_999))
	if p.sectors < 4 {
		return &client.Error{Kind: client.KindUsage, What: fmt.Sprintf("%s is less than four sectors of %s", p.disk, bytesWords(sectorSize))}
	}
	return nil
}

// operator makes the key unless it is there; words are its seed, when it was made.
func (p nodePlan) operator() (address, words string, err error) {
	kr, err := openKeyring(p.home, p.backend, nil)
	if err != nil {
		return "", "", err
	}
	record, err := kr.Key(p.key)
	if err != nil {
		if record, words, err = kr.NewMnemonic(p.key, keyring.English, sdk.GetConfig().GetFullBIP44Path(), keyring.DefaultBIP39Passphrase, hd.Secp256k1); err != nil {
			return "", "", err
		}
	}
	a, err := record.GetAddress()
	return a.String(), words, err
}

func openKeyring(home, backend string, in io.Reader) (keyring.Keyring, error) {
	registry := codectypes.NewInterfaceRegistry()
	cryptocodec.RegisterInterfaces(registry)
	return keyring.New(app.Name, backend, home, in, codec.NewProtoCodec(registry))
}

func nodeStartCmd() *cobra.Command {
	return explained(&cobra.Command{
		Use:   "start",
		Short: "Run the storage node: chain, enclave and content in one process, until it is told to stop",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			home, _ := cmd.Flags().GetString(flags.FlagHome)
			return runNode(cmd.Context(), home, cmd.InOrStdin(), cmd.ErrOrStderr())
		},
	})
}

// runNode wires chain, content and worker together and takes them down in turn.
func runNode(ctx context.Context, home string, in io.Reader, out io.Writer) (err error) {
	cfg, err := worker.LoadConfig(filepath.Join(home, "config", "cella.toml"))
	if err != nil {
		return &client.Error{Kind: client.KindUsage, What: "this is no storage node's home", Cause: err, Hint: "cella node init makes one"}
	}
	log := slog.New(slog.NewTextHandler(out, nil))
	deny, err := worker.NewDenylists(cfg.Moderation, denyDir(home), log)
	if err != nil {
		return &client.Error{Kind: client.KindUsage, What: "config/cella.toml", Cause: err}
	}
	stock, err := clientConfig(home)
	if err != nil {
		return err
	}
	kr, err := openKeyring(home, stock.KeyringBackend, in)
	if err != nil {
		return err
	}
	fuse, err := loadFuse(filepath.Join(home, "enclave", "fuse"))
	if err != nil {
		return err
	}
	identity, err := content.LoadIdentity(filepath.Join(home, "content", "identity"))
	if err != nil {
		return err
	}
	n, err := node.New(ctx, node.Config{Home: home, Log: out})
	if err != nil {
		return err
	}
	if err := n.Start(); err != nil {
		return portTaken(err)
	}
	defer func() { err = errors.Join(err, n.Stop()) }()
	chain, err := client.NewChain(ctx, n.RPC())
	if err != nil {
		return err
	}
	account, err := client.NewAccount(chain, kr, cfg.Key)
	if err != nil {
		return err
	}
	defer account.Close()
	store := worker.NewStore()
	served, err := content.New(ctx, content.Config{Identity: identity, Store: store, Gate: deny, Listen: cfg.Content.Listen, Announce: cfg.Content.Announce,
		Bootstrap: cfg.Content.Bootstrap, Loopback: allLoopback(cfg.Content.Listen)})
	if err != nil {
		return portTaken(err)
	}
	defer func() { err = errors.Join(err, served.Close()) }()
	w := worker.New(worker.Options{
		ChainID: chain.ID, Address: account.Address, Account: account.Bytes, Config: cfg, Dir: diskDir(home, cfg), Platform: fuse,
		Chain: chain, Queries: worker.Queries{Attest: chain.Attest, Work: chain.Work, Market: chain.Market, Audit: chain.Audit,
			Committee: chain.Committee, Beacon: chain.Beacon},
		Poster: account, Content: served, Store: store, Deny: deny, Evidence: n.Evidence,
		Visit: func(ctx context.Context, from []string) (worker.Visitor, error) {
			v, err := content.NewVisit(ctx, from, allLoopback(cfg.Content.Listen))
			if err != nil {
				return nil, err // not a nil *content.Visit in an interface
			}
			return v, nil
		},
		Start:   startEnclave(cfg, out),
		Log:     log,
		Metrics: worker.NewMetrics(prometheus.DefaultRegisterer),
	})
	n.SetSigner(w)
	g, ctx := errgroup.WithContext(ctx)
	ctx, stop := context.WithCancel(ctx)
	g.Go(func() error {
		defer stop() // a chain node that ended takes the worker with it
		return n.Wait(ctx)
	})
	g.Go(func() error { return w.Run(ctx) })
	g.Go(func() error { return deny.Run(ctx, listSource(chain, served)) })
	g.Go(func() error { return followJournal(home, chain, account.Address, w.Log).Run(ctx) })
	return g.Wait()
}

// portTaken says what can be done where another program has a port that the node needs. Other errors stay as they are.
func portTaken(err error) error {
	if !strings.Contains(err.Error(), syscall.EADDRINUSE.Error()) { // libraries keep no more than the text
		return err
	}
	return &client.Error{Kind: client.KindLocal, What: "a port of the node is taken", Cause: err, Hint: "cella doctor names the port, who may have it and the setting to change"}
}

// listSource lets deny lists be found on chain and fetched as any file, also from the node's own sealed store.
func listSource(chain *client.Chain, served *content.Node) worker.ListSource {
	return worker.ListSource{
		Chain: chain, Lists: chain.Moderation, Queries: worker.Queries{Attest: chain.Attest, Work: chain.Work, Market: chain.Market},
		Read: func(ctx context.Context, root cid.Cid, from []string, limit int64) ([]byte, error) {
			return content.ReadFile(ctx, root, served.Session(ctx, from...), limit)
		},
	}
}

// denyDir is where a node keeps the deny lists that it fetched.
func denyDir(home string) string { return filepath.Join(home, "content", "deny") }

func startEnclave(cfg worker.Config, out io.Writer) func(context.Context) (worker.Enclave, error) {
	log := slog.New(slog.NewTextHandler(out, nil)).With("from", "enclave")
	return func(ctx context.Context) (worker.Enclave, error) {
		path, err := enclavePath(cfg)
		if err != nil {
			return nil, err
		}
		e, err := host.Start(ctx, host.Options{Path: path, Log: func(line string) { log.Info(line) }})
		if err != nil {
			return nil, err // not a nil *host.Enclave in an interface
		}
		return e, nil
	}
}

// enclavePath is where the trusted program lies: beside this one unless the settings say otherwise.
func enclavePath(cfg worker.Config) (string, error) {
	if cfg.Enclave != "" {
		return cfg.Enclave, nil
	}
	self, err := os.Executable()
	return filepath.Join(filepath.Dir(self), "cella-enclave"), err
}

func diskDir(home string, cfg worker.Config) string {
	if cfg.Disk.Dir != "" {
		return cfg.Disk.Dir
	}
	return filepath.Join(home, "disk")
}

// loadFuse reads the file that plays the simulator's hardware, and makes it on first use. INSECURE by its nature.
func loadFuse(path string) ([]byte, error) {
	b, err := os.ReadFile(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return b, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	b = make([]byte, 32)
	if _, err := rand.Read(b); err != nil {
		return nil, err
	}
	return b, os.WriteFile(path, b, 0o600)
}

// allLoopback tells a node of a network on one machine.
func allLoopback(addrs []string) bool {
	for _, s := range addrs {
		a, err := multiaddr.NewMultiaddr(s)
		if err != nil || !manet.IsIPLoopback(a) {
			return false
		}
	}
	return len(addrs) > 0
}

// nodeFacts is what `node status` shows.
type nodeFacts struct {
	ChainID  string `json:"chain_id"`
	Height   int64  `json:"height"`
	Operator string `json:"operator"`
	Balance  uint64 `json:"balance"` // ucella

	Registered bool   `json:"registered"`
	Platform   string `json:"platform,omitempty"`
	Tier       uint32 `json:"tier,omitempty"`
	Expires    int64  `json:"expires,omitempty"`

	Reports    uint64 `json:"reports"`
	LastReport int64  `json:"last_report"` // height
	NextReport int64  `json:"next_report"` // first height of the next slot
	Free       uint64 `json:"free"`        // bytes, as the next two
	Stored     uint64 `json:"stored"`
	Proven     uint64 `json:"proven"` // heights, as the next
	Failed     uint64 `json:"failed"`

	Held     int    `json:"orders_held"`
	Accepted int    `json:"orders_accepted"` // not proven yet
	Ask      uint64 `json:"ask"`             // ucella per GiB-day and replica
}

func nodeStatusCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show how the chain sees this node: registration, last report, orders",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, cancel := context.WithTimeout(cmd.Context(), 15*time.Second)
			defer cancel()
			facts, err := readNode(ctx, cmd)
			if err != nil {
				return err
			}
			view := newView(cmd)
			if view.json {
				return view.facts(facts)
			}
			return facts.write(view.out)
		},
	}
	addNodeFlag(cmd)
	addJSONFlag(cmd)
	return explained(cmd)
}
