package devnet

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// Info is network.json: where everything is.
type Info struct {
	ChainID string `json:"chain_id"`
	Home    string `json:"home"`
	// Worker tells that the nodes run a worker and an enclave, not the chain alone.
	Worker bool `json:"worker"`
	// Namespaces tells that each node has a network namespace of its own.
	Namespaces bool `json:"namespaces,omitempty"`
	// Ports is the first of the block of loopback ports that the network claimed.
	Ports int        `json:"ports"`
	User  User       `json:"user"`
	Nodes []NodeInfo `json:"nodes"`
}

// User is an account with coins, and a home with its key and settings: `cella --home` it speaks as alice.
type User struct {
	Home    string `json:"home"`
	Key     string `json:"key"`
	Address string `json:"address"`
}

// NodeInfo is one node: its home, the name and address of its operator's key, and where it listens.
type NodeInfo struct {
	Home      string `json:"home"`
	Key       string `json:"key"`
	Address   string `json:"address"`
	Validator string `json:"validator"`
	NodeID    string `json:"node_id"`
	P2P       string `json:"p2p"`     // host:port of CometBFT's peers
	RPC       string `json:"rpc"`     // http://host:port
	GRPC      string `json:"grpc"`    // host:port
	REST      string `json:"rest"`    // http://host:port
	Metrics   string `json:"metrics"` // http://host:port/metrics
	Content   string `json:"content"` // multiaddr without the peer's id
}

func infoPath(home string) string { return filepath.Join(home, "network.json") }

// ReadInfo reads network.json of a network's home.
func ReadInfo(home string) (Info, error) {
	b, err := os.ReadFile(infoPath(home))
	if err != nil {
		return Info{}, err
	}
	var i Info
	if err := json.Unmarshal(b, &i); err != nil {
		return Info{}, fmt.Errorf("%s: %w", infoPath(home), err)
	}
	return i, nil
}

func (i Info) write() error {
	b, err := json.MarshalIndent(i, "", "  ")
	if err != nil {
		return err
	}
	tmp := infoPath(i.Home) + ".tmp"
	if err := os.WriteFile(tmp, append(b, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, infoPath(i.Home))
}
