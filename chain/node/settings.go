package node

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	cmtcfg "github.com/cometbft/cometbft/config"
	"github.com/spf13/viper"

	serverconfig "github.com/cosmos/cosmos-sdk/server/config"

	"github.com/cella-network/cella/chain/app"
)

// Settings are what an operator decides about a node of the chain: config/config.toml and config/app.toml.
type Settings struct {
	Comet *cmtcfg.Config
	App   serverconfig.Config
}

// DefaultSettings are those of a validator on the open internet: pruned, snapshots every 1,000 blocks, metrics on
// loopback only.
func DefaultSettings() Settings {
	c := cmtcfg.DefaultConfig()
	// CometBFT writes eight lines a block at its own default, which hides everything else.
	c.LogLevel = "consensus:warn,state:warn,txindex:warn,mempool:warn,p2p:warn,pex:warn,proxy:warn,abci-client:warn,events:warn,*:info"
	c.Consensus.TimeoutPropose = 2 * time.Second
	c.Consensus.TimeoutCommit = time.Second
	c.RPC.ListenAddress = "tcp://127.0.0.1:26657"
	c.Instrumentation.Prometheus = true
	c.Instrumentation.PrometheusListenAddr = "127.0.0.1:26660"
	c.Instrumentation.Namespace = app.Name

	a := *serverconfig.DefaultConfig()
	a.MinGasPrices = app.MinGasPrice
	a.QueryGasLimit = 50_000_000
	a.IAVLCacheSize = 100_000 // nodes a store; the SDK's default of 781,250 costs gigabytes on a chain with many stores
	a.API.Enable = true
	a.API.Address = "tcp://127.0.0.1:1317"
	a.GRPC.Address = "127.0.0.1:9090"
	a.StateSync.SnapshotInterval = 1000
	a.StateSync.SnapshotKeepRecent = 2
	a.Telemetry.ServiceName = app.Name       //nolint:staticcheck // the SDK counts by it; OpenTelemetry needs a collector
	a.Telemetry.Enabled = true               //nolint:staticcheck // the SDK counts by it; OpenTelemetry needs a collector
	a.Telemetry.PrometheusRetentionTime = 60 //nolint:staticcheck // the SDK counts by it; OpenTelemetry needs a collector
	return Settings{Comet: c, App: a}
}

// Write writes both files of a home, over those that are there.
func (s Settings) Write(home string) error {
	dir := filepath.Join(home, "config")
	for _, d := range []string{dir, filepath.Join(home, "data")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	cmtcfg.WriteConfigFile(filepath.Join(dir, "config.toml"), s.Comet)
	serverconfig.WriteConfigFile(filepath.Join(dir, "app.toml"), s.App)
	return nil
}

// LoadSettings reads both files of a home and checks them.
func LoadSettings(home string) (Settings, error) {
	s, _, err := load(home)
	return s, err
}

// load reads both files of a home. Variables of the environment win: CELLA_P2P_LADDR sets p2p.laddr. The returned viper
// answers the SDK's questions about single options.
func load(home string) (Settings, *viper.Viper, error) {
	v := viper.New()
	v.SetConfigType("toml")
	v.SetEnvPrefix(app.Name)
	v.SetEnvKeyReplacer(strings.NewReplacer(".", "_", "-", "_"))
	v.AutomaticEnv()
	for _, name := range []string{"config.toml", "app.toml"} {
		path := filepath.Join(home, "config", name)
		v.SetConfigFile(path)
		if err := v.MergeInConfig(); err != nil {
			return Settings{}, nil, fmt.Errorf("%s: %w", path, err)
		}
	}
	v.Set("home", home)
	s := DefaultSettings()
	if err := v.Unmarshal(s.Comet); err != nil {
		return Settings{}, nil, fmt.Errorf("config.toml: %w", err)
	}
	s.Comet.SetRoot(home)
	if err := s.Comet.ValidateBasic(); err != nil {
		return Settings{}, nil, fmt.Errorf("config.toml: %w", err)
	}
	var err error
	if s.App, err = serverconfig.GetConfig(v); err != nil {
		return Settings{}, nil, fmt.Errorf("app.toml: %w", err)
	}
	if err := s.App.ValidateBasic(); err != nil {
		return Settings{}, nil, fmt.Errorf("app.toml: %w", err)
	}
	return s, v, nil
}
