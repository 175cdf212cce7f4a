package devnet

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/cometbft/cometbft/p2p"
	"github.com/cometbft/cometbft/privval"
	dbm "github.com/cosmos/cosmos-db"
	"github.com/pelletier/go-toml/v2"

	"cosmossdk.io/log/v2"

	"github.com/cosmos/cosmos-sdk/crypto/hd"
	"github.com/cosmos/cosmos-sdk/crypto/keyring"
	sdk "github.com/cosmos/cosmos-sdk/types"

	"github.com/cella-network/cella/chain/app"
	"github.com/cella-network/cella/chain/node"
	"github.com/cella-network/cella/worker"
)

const (
	userKey     = "alice"
	operatorKey = "operator"
)

// Create makes keys, settings and genesis of a new network and writes them, but runs nothing. Its ports stay claimed until
// the calling process ends, unless Start takes it up.
func Create(cfg Config) (Info, error) {
	if err := cfg.complete(); err != nil {
		return Info{}, err
	}
	if entries, err := os.ReadDir(cfg.Home); err == nil && len(entries) > 0 {
		return Info{}, fmt.Errorf("devnet: %s is neither empty nor a network", cfg.Home)
	}
	if err := os.MkdirAll(cfg.Home, 0o755); err != nil {
		return Info{}, err
	}
	port, err := claimPorts(cfg.Home, 0)
	if err != nil {
		return Info{}, err
	}
	info, err := create(cfg, port)
	if err == nil {
		err = info.write()
	}
	if err != nil {
		return Info{}, errors.Join(err, releasePorts(cfg.Home))
	}
	return info, nil
}

func create(cfg Config, port int) (Info, error) {
	a, err := app.New(log.NewNopLogger(), dbm.NewMemDB(), cfg.Home)
	if err != nil {
		return Info{}, err
	}
	defer a.Close()
	var measurement []byte
	if cfg.Enclave != "" {
		if measurement, err = measure(cfg.Enclave); err != nil {
			return Info{}, err
		}
	}
	info := Info{ChainID: cfg.ChainID, Home: cfg.Home, Worker: cfg.Enclave != "", Namespaces: cfg.Namespaces, Ports: port}
	info.User = User{Home: filepath.Join(cfg.Home, userKey), Key: userKey}
	user, err := makeKey(a, info.User.Home, userKey)
	if err != nil {
		return Info{}, err
	}
	info.User.Address = user.String()

	var members []member
	for i := range cfg.Nodes {
		n, m, err := createNode(a, cfg, i, port+i*nodePorts)
		if err != nil {
			return Info{}, fmt.Errorf("%s: %w", nodeName(i), err)
		}
		info.Nodes, members = append(info.Nodes, n), append(members, m)
	}
	genesis, err := makeGenesis(a, cfg, members, user, measurement)
	if err != nil {
		return Info{}, fmt.Errorf("genesis: %w", err)
	}
	for i, n := range info.Nodes {
		if err := genesis.SaveAs(filepath.Join(n.Home, "config", "genesis.json")); err != nil {
			return Info{}, err
		}
		if err := writeSettings(cfg, info, i); err != nil {
			return Info{}, err
		}
	}
	return info, writeClientConfig(info.User.Home, userKey, info.ChainID, info.Nodes[0].RPC)
}

func createNode(a *app.App, cfg Config, i, port int) (NodeInfo, member, error) {
	home := filepath.Join(cfg.Home, nodeName(i))
	at := "127.0.0.1"
	if cfg.Namespaces {
		at = nodeIP(i)
	}
	host := func(offset int) string { return fmt.Sprintf("%s:%d", at, port+offset) }
	n := NodeInfo{Home: home, Key: operatorKey, P2P: host(0), RPC: "http://" + host(1), GRPC: host(2), REST: "http://" + host(3),
		Metrics: "http://" + host(4) + "/metrics", Content: fmt.Sprintf("/ip4/%s/tcp/%d", at, port+5)}
	for _, d := range []string{"config", "data"} {
		if err := os.MkdirAll(filepath.Join(home, d), 0o755); err != nil {
			return n, member{}, err
		}
	}
	operator, err := makeKey(a, home, operatorKey)
	if err != nil {
		return n, member{}, err
	}
	n.Address, n.Validator = operator.String(), sdk.ValAddress(operator).String()
	c := node.DefaultSettings().Comet.SetRoot(home)
	nodeKey, err := p2p.LoadOrGenNodeKey(c.NodeKeyFile())
	if err != nil {
		return n, member{}, err
	}
	n.NodeID = string(nodeKey.ID())
	return n, member{operator: operator, consensus: privval.LoadOrGenFilePV(c.PrivValidatorKeyFile(), c.PrivValidatorStateFile())}, nil
}

// makeKey adds a fresh key to the keyring of a home, without a password.
func makeKey(a *app.App, home, name string) (sdk.AccAddress, error) {
	kr, err := keyring.New(app.Name, keyring.BackendTest, home, nil, a.Codec)
	if err != nil {
		return nil, err
	}
	record, _, err := kr.NewMnemonic(name, keyring.English, sdk.GetConfig().GetFullBIP44Path(), keyring.DefaultBIP39Passphrase, hd.Secp256k1)
	if err != nil {
		return nil, err
	}
	return record.GetAddress()
}

// writeSettings writes all files of a node's config/ but genesis.
func writeSettings(cfg Config, info Info, i int) error {
	n := info.Nodes[i]
	var peers []string
	for j, p := range info.Nodes {
		if j != i {
			peers = append(peers, p.NodeID+"@"+p.P2P)
		}
	}
	s := node.DefaultSettings()
	c := s.Comet
	c.Moniker = nodeName(i)
	c.P2P.ListenAddress = "tcp://" + n.P2P
	c.P2P.PersistentPeers = strings.Join(peers, ",")
	c.P2P.PersistentPeersMaxDialPeriod = time.Second // a node that was killed is back at once
	c.P2P.AddrBookStrict, c.P2P.AllowDuplicateIP, c.P2P.PexReactor = false, true, false
	c.RPC.ListenAddress = "tcp://" + strings.TrimPrefix(n.RPC, "http://")
	c.Instrumentation.PrometheusListenAddr = strings.TrimSuffix(strings.TrimPrefix(n.Metrics, "http://"), "/metrics")
	// Voting on loopback takes some 50 ms.
	c.Consensus.TimeoutCommit = max(cfg.BlockTime-50*time.Millisecond, 10*time.Millisecond)
	c.Consensus.TimeoutPropose, c.Consensus.TimeoutProposeDelta = time.Second, 200*time.Millisecond
	c.Consensus.TimeoutPrevote, c.Consensus.TimeoutPrecommit = 300*time.Millisecond, 300*time.Millisecond
	c.Mempool.Size, c.Mempool.CacheSize = 1000, 2000

	s.App.GRPC.Address = n.GRPC
	s.App.API.Address = "tcp://" + strings.TrimPrefix(n.REST, "http://")
	s.App.IAVLCacheSize = 5000
	s.App.StateSync.SnapshotInterval = 100
	if err := s.Write(n.Home); err != nil {
		return err
	}
	if err := writeClientConfig(n.Home, operatorKey, info.ChainID, n.RPC); err != nil {
		return err
	}
	if cfg.Enclave == "" {
		return nil
	}
	return worker.Config{
		Key:     operatorKey,
		Enclave: cfg.Enclave,
		Disk:    worker.DiskConfig{Sectors: cfg.Sectors},
		Ask:     worker.AskConfig{Price: cfg.Price, MaxSize: uint64(cfg.Sectors) * sectorSize},
		Content: worker.ContentConfig{Listen: []string{n.Content}},
	}.Save(filepath.Join(n.Home, "config", "cella.toml"))
}

// writeClientConfig lets the command line of a home speak to a node of the network with the home's own key.
func writeClientConfig(home, key, chainID, rpc string) error {
	dir := filepath.Join(home, "config")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	b, err := toml.Marshal(map[string]string{
		"chain-id": chainID, "keyring-backend": keyring.BackendTest, "keyring-default-keyname": key, "output": "text",
		"node": strings.Replace(rpc, "http://", "tcp://", 1), "broadcast-mode": "sync",
	})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "client.toml"), b, 0o644)
}
