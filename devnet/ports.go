package devnet

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Each node takes nodePorts ports of its network's block. Blocks lie below the range from which Linux takes the ports of
// outgoing connections, so that no connection of somebody else sits on a port between two starts of a node.
const (
	nodePorts  = 8
	maxNodes   = 16
	blockPorts = nodePorts * maxNodes
	firstPort  = 20480
	lastPort   = 32768
)

// claim is one network's block in the list of claims.
type claim struct {
	Port  int    `json:"port"`
	Home  string `json:"home"`
	Owner proc   `json:"owner"`
}

// live tells whether the network may still come back to its ports: its files are there, and whoever started it or one of
// its nodes runs.
func (c claim) live() bool {
	info, err := ReadInfo(c.Home)
	if err != nil || info.Ports != c.Port {
		return c.Owner.running() && errors.Is(err, os.ErrNotExist) // being made at this moment
	}
	if c.Owner.running() {
		return true
	}
	for _, n := range info.Nodes {
		if p, err := readPid(n.Home); err == nil && p.running() {
			return true
		}
	}
	return false
}

// claimPorts takes a free block of loopback ports for the network at home; want asks for that block and no other.
func claimPorts(home string, want int) (int, error) {
	var port int
	err := withClaims(func(claims []claim) ([]claim, error) {
		taken := map[int]bool{}
		var kept []claim
		for _, c := range claims {
			if c.Home != home && c.live() {
				taken[c.Port] = true
				kept = append(kept, c)
			}
		}
		for p := firstPort; p+blockPorts <= lastPort; p += blockPorts {
			if want != 0 && p != want || taken[p] || !free(p) {
				continue
			}
			port = p
			return append(kept, claim{Port: p, Home: home, Owner: self()}), nil
		}
		if want != 0 {
			return nil, fmt.Errorf("devnet: ports %d to %d are taken", want, want+blockPorts-1)
		}
		return nil, errors.New("devnet: no free block of loopback ports")
	})
	return port, err
}

// releasePorts gives the block of the network at home back.
func releasePorts(home string) error {
	return withClaims(func(claims []claim) ([]claim, error) {
		kept := []claim{}
		for _, c := range claims {
			if c.Home != home {
				kept = append(kept, c)
			}
		}
		return kept, nil
	})
}

// withClaims changes the user's list of claims under its lock.
func withClaims(change func([]claim) ([]claim, error)) error {
	path := filepath.Join(os.TempDir(), fmt.Sprintf("cella-devnet-%d.json", os.Getuid()))
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return err
	}
	defer f.Close() // and the lock with it
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	b, err := io.ReadAll(f)
	if err != nil {
		return err
	}
	var claims []claim
	if len(b) > 0 && json.Unmarshal(b, &claims) != nil {
		claims = nil // half written by a process that died; ports are checked below anyway
	}
	if claims, err = change(claims); err != nil {
		return err
	}
	if b, err = json.Marshal(claims); err != nil {
		return err
	}
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err = f.WriteAt(b, 0)
	return err
}

// free tells whether nobody listens on a block, on TCP or UDP.
func free(port int) bool {
	for p := port; p < port+blockPorts; p++ {
		addr := fmt.Sprintf("127.0.0.1:%d", p)
		l, err := net.Listen("tcp", addr)
		if err != nil {
			return false
		}
		l.Close()
		u, err := net.ListenPacket("udp", addr)
		if err != nil {
			return false
		}
		u.Close()
	}
	return true
}
