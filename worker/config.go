package worker

import (
	"fmt"
	"os"

	"github.com/pelletier/go-toml/v2"
)

// Config is config/cella.toml of a node's home: what an operator decides about storage.
type Config struct {
	Key     string        `toml:"key" comment:"name of the operator's key in the keyring"`
	Enclave string        `toml:"enclave" comment:"path of cella-enclave; empty: beside the cella binary"`
	Disk    DiskConfig    `toml:"disk"`
	Ask     AskConfig     `toml:"ask"`
	Content ContentConfig `toml:"content"`

	Moderation ModerationConfig `toml:"moderation"`
}

// DiskConfig bounds what the node may write.
type DiskConfig struct {
	Dir     string `toml:"dir" comment:"folder of the sectors and the index; empty: disk/ in the home"`
	Sectors uint32 `toml:"sectors" comment:"hard quota: most sector files at any time"`
	Scrub   uint32 `toml:"scrub_mib_per_second" comment:"how fast sealed blocks are read over and checked beside the draws; 0: not at all"`
}

// AskConfig is the offer that the node makes.
type AskConfig struct {
	Price   uint64 `toml:"price" comment:"ucella per GiB-day and replica; 0 offers nothing"`
	MaxSize uint64 `toml:"max_size" comment:"largest order in bytes"`
}

// ContentConfig is where the node serves blocks.
type ContentConfig struct {
	Listen    []string `toml:"listen" comment:"multiaddrs to listen on"`
	Announce  []string `toml:"announce" comment:"multiaddrs to tell others; empty: the listening ones"`
	Bootstrap []string `toml:"bootstrap" comment:"peers (multiaddr with /p2p/) to join the DHT through"`
}

// ModerationConfig names the deny lists that the operator opts in to: what they deny is neither taken, fetched nor served.
type ModerationConfig struct {
	Lists []string `toml:"lists" comment:"deny lists published on chain: ADDRESS/NAME; content is served only once all are loaded"`
	Files []string `toml:"files" comment:"deny lists of one's own (.deny files); they go first and may allow what a published list denies"`
}

// LoadConfig reads config/cella.toml and refuses keys it does not know.
func LoadConfig(path string) (Config, error) {
	f, err := os.Open(path)
	if err != nil {
		return Config{}, err
	}
	defer f.Close()
	var c Config
	if err := toml.NewDecoder(f).DisallowUnknownFields().Decode(&c); err != nil {
		return Config{}, fmt.Errorf("%s: %w", path, err)
	}
	return c, nil
}

// Save writes the configuration with its comments.
func (c Config) Save(path string) error {
	b, err := toml.Marshal(c)
	if err != nil {
		return err
	}
	return os.WriteFile(path, b, 0o644)
}
