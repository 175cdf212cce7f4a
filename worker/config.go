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
}

// DiskConfig bounds what the node may write.
type DiskConfig struct {
	Dir     string `toml:"dir" comment:"folder of the sectors and the index; empty: disk/ in the home"`
	Sectors uint32 `toml:"sectors" comment:"hard quota: most sector files at any time"`
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
