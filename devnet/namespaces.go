package devnet

import (
	"errors"
	"fmt"
	"os/exec"
	"strings"
)

// With Config.Namespaces each node lives in a network namespace of its own, as on a machine of its own, joined to the others
// by a bridge. Nodes that are cut off hang on a second bridge, which leads nowhere:
//
//	caller 10.77.0.1 ── cella0 ─┬─ node 0 10.77.0.10        cella1 ─┬─ node 2 10.77.0.12
//	                            └─ node 1 10.77.0.11                └─ node 3 10.77.0.13
//
// The caller must be in a namespace that it has for itself, for names and addresses are the same each time; all goes with it.
const (
	mainBridge = "cella0"
	sideBridge = "cella1"
	bridgeAddr = "10.77.0.1/24"
)

func nodeIP(i int) string    { return fmt.Sprintf("10.77.0.%d", 10+i) }
func namespace(i int) string { return fmt.Sprintf("cella%d", i) }
func cable(i int) string     { return fmt.Sprintf("cable%d", i) }

// wire makes bridges and namespaces for so many nodes.
func wire(nodes int) error {
	commands := []string{
		"link set lo up",
		"link add " + mainBridge + " type bridge", "link add " + sideBridge + " type bridge",
		"addr add " + bridgeAddr + " dev " + mainBridge, "link set " + mainBridge + " up", "link set " + sideBridge + " up",
	}
	for i := range nodes {
		ns := namespace(i)
		commands = append(commands,
			"netns add "+ns,
			"link add "+cable(i)+" type veth peer name eth0 netns "+ns,
			"link set "+cable(i)+" master "+mainBridge+" up",
			"-n "+ns+" link set lo up",
			"-n "+ns+" addr add "+nodeIP(i)+"/24 dev eth0",
			"-n "+ns+" link set eth0 up",
		)
	}
	for _, c := range commands {
		if err := ip(c); err != nil {
			return err
		}
	}
	return nil
}

// unwire takes all of that away again.
func unwire(nodes int) error {
	err := errors.Join(ip("link del "+mainBridge), ip("link del "+sideBridge))
	for i := range nodes {
		err = errors.Join(err, ip("netns del "+namespace(i))) // and the cable with it
	}
	return err
}

// Partition cuts the named nodes off from the caller and from all others but each other, and joins those that are not named.
// Without names it heals the network.
func (n *Network) Partition(cut ...int) error {
	if !n.Namespaces {
		return errors.New("devnet: only a network in namespaces can be cut")
	}
	side := map[int]bool{}
	for _, i := range cut {
		side[i] = true
	}
	for i := range n.Nodes {
		bridge := mainBridge
		if side[i] {
			bridge = sideBridge
		}
		if err := ip("link set " + cable(i) + " master " + bridge); err != nil {
			return err
		}
	}
	return nil
}

func ip(arguments string) error {
	out, err := exec.Command("ip", strings.Fields(arguments)...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("ip %s: %w: %s", arguments, err, strings.TrimSpace(string(out)))
	}
	return nil
}
