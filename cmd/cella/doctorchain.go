package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/cometbft/cometbft/p2p"
	"github.com/multiformats/go-multiaddr"
	manet "github.com/multiformats/go-multiaddr/net"
	"github.com/spf13/cobra"

	"github.com/cosmos/cosmos-sdk/client/flags"
	"github.com/cosmos/cosmos-sdk/codec"
	codectypes "github.com/cosmos/cosmos-sdk/codec/types"
	genutiltypes "github.com/cosmos/cosmos-sdk/x/genutil/types"

	"github.com/cella-network/cella/api/attest"
	"github.com/cella-network/cella/api/work"
	"github.com/cella-network/cella/client"
	"github.com/cella-network/cella/protocol/attestation"
)

// termsOfGenesis reads what a chain began with.
func termsOfGenesis(g *genutiltypes.AppGenesis) (chainTerms, error) {
	var modules struct {
		Attest json.RawMessage `json:"attest"`
		Work   json.RawMessage `json:"work"`
	}
	if err := json.Unmarshal(g.AppState, &modules); err != nil {
		return chainTerms{}, err
	}
	cdc := codec.NewProtoCodec(codectypes.NewInterfaceRegistry())
	var a attest.GenesisState
	var w work.GenesisState
	if err := errors.Join(cdc.UnmarshalJSON(modules.Attest, &a), cdc.UnmarshalJSON(modules.Work, &w)); err != nil {
		return chainTerms{}, err
	}
	if w.Params.SectorSize == 0 {
		return chainTerms{}, errors.New("the genesis names no sector size: is it of a Cella chain?")
	}
	return chainTerms{w.Params.SectorSize, a.Params}, nil
}

// checkChain asks a node: the one that --node names, or the home's own if it runs.
func (d *doctor) checkChain(ctx context.Context, cmd *cobra.Command) {
	d.asked, _ = cmd.Flags().GetString(flags.FlagNode)
	named := d.asked != ""
	own := strings.Replace(d.settings.Comet.RPC.ListenAddress, "tcp://", "http://", 1)
	d.own = d.isOwn(ctx, own)
	if !named && !d.own {
		d.warn("chain", "cella doctor --node http://HOST:26657", "this node does not run and no other was named: coins, measurement and genesis are not compared with the chain")
		return
	}
	if !named {
		d.asked = own
	}
	ask, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	chain, err := client.Dial(ask, d.asked)
	if err != nil {
		d.fail("chain", "name a node that answers", "%s does not answer: %v", d.asked, err)
		return
	}
	d.chain = chain
	if chain.ID != d.genesis.ChainID {
		d.fail("chain", "take that chain's genesis file", "%s is of chain %s, the genesis here of %s", d.asked, chain.ID, d.genesis.ChainID)
		d.chain = nil
		return
	}
	d.compareGenesis(ask)
	p, err := chain.Attest.Params(ask, &attest.QueryParamsRequest{})
	if err == nil {
		d.terms.attest = p.Params
	}
	d.compareTime(ask)
}

// compareGenesis tells a genesis that carries the right chain's name alone.
func (d *doctor) compareGenesis(ctx context.Context) {
	theirs, err := d.chain.RPC().Genesis(ctx)
	if err != nil {
		d.warn("genesis", "", "%s does not show its genesis: %v", d.asked, err)
		return
	}
	compact := func(raw json.RawMessage) []byte {
		var out bytes.Buffer
		if err := json.Compact(&out, raw); err != nil {
			return raw
		}
		return out.Bytes()
	}
	if !theirs.Genesis.GenesisTime.Equal(d.genesis.GenesisTime) || !bytes.Equal(compact(theirs.Genesis.AppState), compact(d.genesis.AppState)) {
		d.fail("genesis", fmt.Sprintf("curl -s %s/genesis | jq .result.genesis > %s", d.asked, filepath.Join(d.home, "config", "genesis.json")),
			"%s has another genesis than this home", d.asked)
		return
	}
	d.ok("genesis", "%s has the same", d.asked)
}

// slack is how far a clock may be off: consensus refuses proposals that are further.
const slack = 10 * time.Second

func (d *doctor) compareTime(ctx context.Context) {
	st, err := d.chain.RPC().Status(ctx)
	if err != nil {
		d.warn("chain", "", "%s: %v", d.asked, err)
		return
	}
	at, now := st.SyncInfo.LatestBlockTime, time.Now()
	switch {
	case at.After(now.Add(slack)):
		d.fail("clock", "timedatectl set-ntp true", "this machine's clock is %s behind the chain's last block", at.Sub(now).Round(time.Second))
	case st.SyncInfo.CatchingUp:
		d.warn("chain", "wait until it caught up", "%s is at block %d, of %s, and still catches up", d.asked, st.SyncInfo.LatestBlockHeight, at.Local().Format(time.DateTime))
	case at.Before(now.Add(-time.Minute)):
		d.warn("chain", "timedatectl status; if the clock is right, ask another node", "the last block of %s is %s old: the chain stands still, or this machine's clock is ahead", d.asked, now.Sub(at).Round(time.Second))
	default:
		d.ok("chain", "%s is at block %d, %s old", d.asked, st.SyncInfo.LatestBlockHeight, max(0, now.Sub(at).Round(time.Second)))
	}
}

// isOwn tells that the node of this home answers at an address.
func (d *doctor) isOwn(ctx context.Context, rpc string) bool {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	key, err := p2p.LoadNodeKey(d.settings.Comet.NodeKeyFile())
	if err != nil {
		return false // it never started
	}
	chain, err := client.Dial(ctx, rpc)
	if err != nil {
		return false
	}
	st, err := chain.RPC().Status(ctx)
	return err == nil && st.NodeInfo.DefaultNodeID == key.ID()
}

// checkEnclave runs the trusted program and looks for its measurement on the chain's list.
func (d *doctor) checkEnclave() {
	path, err := enclavePath(d.cfg)
	if err != nil {
		d.fail("enclave", "", "%v", err)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, "measure").Output()
	if err != nil {
		d.fail("enclave", "put cella-enclave beside cella, or set enclave in "+filepath.Join(d.home, "config", "cella.toml"), "%s measure: %v", path, err)
		return
	}
	measurement, err := hex.DecodeString(strings.TrimSpace(string(out)))
	if err != nil || len(measurement) != 32 {
		d.fail("enclave", "install the cella-enclave of this network's release", "%s measure printed %.80q, no measurement", path, out)
		return
	}
	from := "the genesis"
	if d.chain != nil {
		from = "the chain"
	}
	for _, m := range d.terms.attest.Measurements {
		if !bytes.Equal(m.Measurement, measurement) {
			continue
		}
		platform := attestation.Platform(m.Platform)
		if platform == attestation.PlatformSim && !d.terms.attest.Devnet {
			d.fail("enclave", "run the node on a machine with a TEE", "%s is listed for the simulator, which only a devnet admits", path)
			return
		}
		d.ok("enclave", "%s measures %x..., listed by %s for platform %s, tier %d", path, measurement[:8], from, platform, m.Tier)
		return
	}
	d.fail("enclave", "install the cella-enclave of this network's release: the chain lists those it admits (cella chain query attest params)",
		"%s measures %x, which %s does not list", path, measurement, from)
}

// checkPorts tries to listen where the node will.
func (d *doctor) checkPorts() {
	type port struct{ what, network, address, setting string }
	ports := []port{
		{"peers", "tcp", d.settings.Comet.P2P.ListenAddress, "p2p.laddr in config.toml"},
		{"rpc", "tcp", d.settings.Comet.RPC.ListenAddress, "rpc.laddr in config.toml"},
	}
	for _, s := range d.cfg.Content.Listen {
		a, err := multiaddr.NewMultiaddr(s)
		if err != nil {
			d.fail("ports", "edit content.listen in cella.toml", "content.listen: %q: %v", s, err)
			continue
		}
		network, address, err := manet.DialArgs(a)
		if err != nil { // QUIC lies over UDP
			first, _ := multiaddr.SplitFunc(a, func(c multiaddr.Component) bool { return c.Protocol().Code == multiaddr.P_QUIC_V1 })
			if network, address, err = manet.DialArgs(first); err != nil {
				d.fail("ports", "edit content.listen in cella.toml", "content.listen: %q: %v", s, err)
				continue
			}
		}
		ports = append(ports, port{"content", network, address, "content.listen in cella.toml"})
	}
	for _, p := range ports {
		address := strings.TrimPrefix(p.address, "tcp://")
		err := tryListen(p.network, address)
		number := address[strings.LastIndexByte(address, ':')+1:]
		switch {
		case err == nil && d.own:
			d.warn("ports", "restart the node", "the node runs but does not listen on %s (%s)", address, p.what)
		case err == nil:
			d.ok("ports", "%s is free for %s", address, p.what)
		case d.own:
			d.ok("ports", "%s (%s) is held by this node", address, p.what)
		default:
			d.fail("ports", fmt.Sprintf("ss -lptun 'sport = :%s' shows who has it; else change %s", number, p.setting), "%s is not free for %s: %v", address, p.what, err)
		}
	}
}

func tryListen(network, address string) error {
	if strings.HasPrefix(network, "udp") {
		c, err := net.ListenPacket(network, address)
		if err != nil {
			return err
		}
		return c.Close()
	}
	l, err := net.Listen(network, address)
	if err != nil {
		return err
	}
	return l.Close()
}

// checkReach tells addresses that mean nothing to others. Whether a firewall lets them through can't be seen from inside.
func (d *doctor) checkReach() {
	told, setting := d.cfg.Content.Announce, "announce"
	if len(told) == 0 {
		told, setting = d.cfg.Content.Listen, "listen"
	}
	public := 0
	for _, s := range told {
		a, err := multiaddr.NewMultiaddr(s)
		switch {
		case err != nil:
			d.fail("reach", "edit content."+setting+" in cella.toml", "%q: %v", s, err)
		case manet.IsIPLoopback(a) && d.terms.attest.Devnet:
			public++
		case manet.IsIPUnspecified(a) && anyPublic():
			public++
		case manet.IsPublicAddr(a):
			public++
		}
	}
	if public > 0 {
		d.ok("reach", "%s is told to others; see that a firewall lets it through", strings.Join(told, ", "))
		return
	}
	d.warn("reach", `set content.announce in cella.toml to what the internet sees, such as ["/ip4/203.0.113.5/tcp/4001"], and forward the port`,
		"%s means nothing on the internet: nobody will fetch from this node, and audits will fail", strings.Join(told, ", "))
}

// anyPublic tells whether an interface of this machine has an address of the internet.
func anyPublic() bool {
	addrs, err := manet.InterfaceMultiaddrs()
	if err != nil {
		return false
	}
	for _, a := range addrs {
		if manet.IsPublicAddr(a) {
			return true
		}
	}
	return false
}

func (d *doctor) checkPeers() {
	c := d.settings.Comet
	var peers int
	for _, list := range []string{c.P2P.PersistentPeers, c.P2P.Seeds} {
		for _, p := range strings.Split(list, ",") {
			if p = strings.TrimSpace(p); p == "" {
				continue
			}
			if _, err := p2p.NewNetAddressString(p); err != nil {
				d.fail("peers", "write ID@HOST:PORT in p2p.persistent_peers of config.toml", "%q: %v", p, err)
				continue
			}
			peers++
		}
	}
	if book, err := os.Stat(c.P2P.AddrBookFile()); peers == 0 && (err != nil || book.Size() < 200) && !d.own {
		d.fail("peers", "set p2p.persistent_peers in config.toml to ID@HOST:26656 of a node of the chain", "the node knows nobody of the chain")
		return
	}
	d.ok("peers", "%d are named", peers)
}

// remote tells that an RPC address is of another machine.
func remote(rpc string) bool {
	u, err := url.Parse(rpc)
	if err != nil || u.Hostname() == "" || u.Hostname() == "localhost" {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return ip == nil || !ip.IsLoopback()
}
