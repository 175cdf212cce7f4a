package client

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"

	blocks "github.com/ipfs/go-block-format"
	"github.com/ipfs/go-cid"
	"github.com/libp2p/go-libp2p/core/peer"

	"github.com/cella-network/cella/content"
)

// hosts tells whether the blocks are to be served from here: not when others have them and nothing is left.
func (p *put) hosts() bool {
	_, err := os.Stat(filepath.Join(p.dir(putsDir, p.entry.Root), "blocks"))
	return !errors.Is(err, fs.ErrNotExist) || p.entry.Acknowledged == 0
}

// host serves the blocks. A put that is resumed listens where its orders say, if it can.
func (p *put) host(ctx context.Context) error {
	if !p.hosts() {
		return nil
	}
	dir := p.dir(putsDir, p.entry.Root)
	key, err := content.LoadIdentity(filepath.Join(dir, "identity"))
	if err != nil {
		return wrap(KindLocal, "content node", err)
	}
	plain, err := content.OpenStore(filepath.Join(dir, "blocks"))
	if err != nil {
		return wrap(KindLocal, "block store", err)
	}
	p.store = &served{Store: plain, unchecked: true}
	listen := p.opts.Listen
	var told []string
	for _, a := range p.parts {
		if told = a.order.Addrs; len(told) > 0 {
			break
		}
	}
	if before := listenAgain(told, p.opts.Loopback); len(before) > 0 {
		if p.node, err = p.open(ctx, p.store, key, before); err != nil {
			p.node = nil // another program has the port: the holders find the blocks over the DHT or the connection that we open
		}
	}
	if p.node == nil {
		if p.node, err = p.open(ctx, p.store, key, listen); err != nil {
			p.node = nil
			return err
		}
	}
	node := p.node
	go func() { _ = node.Provide(ctx, p.root) }() // a second way to be found, beside the order's addresses; it goes on trying
	return nil
}

// workspace is a folder below content/puts that another process clears away when this one was killed.
func (p *put) workspace() (dir string, done func(), err error) {
	parent := p.dir(putsDir)
	if err := os.MkdirAll(parent, 0o700); err != nil {
		return "", nil, wrap(KindLocal, "folder of blocks", err)
	}
	old, err := filepath.Glob(filepath.Join(parent, ".work-*.lock"))
	if err != nil {
		return "", nil, wrap(KindLocal, "folder of blocks", err)
	}
	for _, l := range old {
		if unlock, err := lockFile(l, false); err == nil {
			os.RemoveAll(strings.TrimSuffix(l, ".lock"))
			unlock()
		}
	}
	var id [8]byte
	rand.Read(id[:])
	dir = filepath.Join(parent, ".work-"+hex.EncodeToString(id[:]))
	unlock, err := lockFile(dir+".lock", false)
	if err == nil {
		err = os.Mkdir(dir, 0o700)
	}
	if err != nil {
		return "", nil, wrap(KindLocal, "folder of blocks", err)
	}
	return dir, func() {
		os.RemoveAll(dir)
		unlock()
	}, nil
}

// served counts the bytes that peers read from a store.
type served struct {
	*content.Store
	unchecked bool // peers hash what they are sent, and nobody else reads here
	sent      atomic.Uint64
}

func (s *served) Get(ctx context.Context, c cid.Cid) (blocks.Block, error) {
	get := s.Store.Get
	if s.unchecked {
		get = s.Store.Unchecked
	}
	b, err := get(ctx, c)
	if err == nil {
		s.sent.Add(uint64(len(b.RawData())))
	}
	return b, err
}

// treeSize is the number of bytes in the files at or below path.
func treeSize(path string) (uint64, error) {
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return 0, err
	}
	var n uint64
	err = filepath.WalkDir(path, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			n += uint64(info.Size())
		}
		return err
	})
	return n, err
}

// cause drops the path that the words before it say already.
func cause(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// usable keeps the addresses that can be read: strangers wrote them.
func usable(addrs []string) []string {
	var out []string
	for _, a := range addrs {
		if _, err := peer.AddrInfoFromString(a); err == nil {
			out = append(out, a)
		}
	}
	return out
}

// listenAgain makes listen addresses of those that an order names.
func listenAgain(addrs []string, loopback bool) []string {
	var out []string
	for _, a := range addrs {
		at, _, ok := strings.Cut(a, "/p2p/")
		if ok && (loopback || !strings.HasPrefix(at, "/ip4/127.") && !strings.HasPrefix(at, "/ip6/::1/")) {
			out = append(out, at)
		}
	}
	return out
}
