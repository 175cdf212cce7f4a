package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"syscall"
	"time"

	"github.com/cella-network/cella/bench/meter"
)

// repo is a kubo repository of its own, with or without a daemon.
type repo struct {
	program, dir string
	daemon       *exec.Cmd
	addr         string // of the daemon
}

// newRepo makes an empty one under the import settings that ours equal.
func newRepo(ctx context.Context, program, dir string) (*repo, error) {
	r := &repo{program: program, dir: dir}
	_, _, err := timed(r.command(ctx, "init", "--profile=unixfs-v1-2025,test"), nil)
	return r, err
}

func (r *repo) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, r.program, args...)
	cmd.Env = append(os.Environ(), "IPFS_PATH="+r.dir, "IPFS_TELEMETRY=off")
	return cmd
}

var loopback = regexp.MustCompile(`/ip4/127\.0\.0\.1/tcp/\d+/p2p/\w+`)

// start runs the daemon until stop.
func (r *repo) start(ctx context.Context) error {
	r.daemon = r.command(ctx, "daemon")
	r.daemon.Cancel = func() error { return r.daemon.Process.Signal(syscall.SIGTERM) }
	r.daemon.WaitDelay = 20 * time.Second
	out, err := r.daemon.StdoutPipe()
	if err != nil {
		return err
	}
	if err := r.daemon.Start(); err != nil {
		return err
	}
	lines := bufio.NewScanner(out)
	for ready := false; !ready; ready = lines.Text() == "Daemon is ready" {
		if !lines.Scan() {
			return errors.Join(errors.New("kubo's daemon doesn't get ready"), r.stop())
		}
	}
	go func() { _, _ = io.Copy(io.Discard, out) }() // it never waits for us to read
	_, id, err := timed(r.command(ctx, "id"), nil)
	if r.addr = loopback.FindString(string(id)); err == nil && r.addr == "" {
		err = errors.New("kubo's daemon has no loopback address")
	}
	if err != nil {
		return errors.Join(err, r.stop())
	}
	return nil
}

func (r *repo) stop() error {
	if err := r.daemon.Process.Signal(syscall.SIGTERM); err != nil {
		return err
	}
	_ = r.daemon.Wait() // ended by our signal
	return nil
}

// distant has one kubo daemon add a file, a second one fetch and pin it, and a third one read it from the second: the work of a put
// and of a get without sealing and proofs.
func (b *bench) distant(ctx context.Context, file, root, back string, put, get func(side)) (err error) {
	dir := filepath.Join(b.dir, "distant")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	var repos [3]*repo
	for i := range repos {
		if repos[i], err = newRepo(ctx, b.ipfs.program, filepath.Join(dir, fmt.Sprint(i))); err != nil {
			return err
		}
		if err := repos[i].start(ctx); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, repos[i].stop()) }()
	}
	owner, holder, reader := repos[0], repos[1], repos[2]
	for _, pair := range [][2]*repo{{holder, owner}, {reader, holder}} {
		if _, _, err := timed(pair[0].command(ctx, "swarm", "connect", pair[1].addr), nil); err != nil {
			return err
		}
	}
	used := func(repos ...*repo) (s float64) {
		for _, r := range repos {
			if t, err := meter.CPU(r.daemon.Process.Pid); err == nil {
				s += t.Seconds()
			}
		}
		return s
	}
	before := used(owner, holder)
	add, _, err := timed(owner.command(ctx, append(addArgs, file)...), nil)
	if err != nil {
		return err
	}
	pin, _, err := timed(holder.command(ctx, "pin", "add", root), nil)
	if err != nil {
		return err
	}
	put(side{cpu: add.cpu + pin.cpu + used(owner, holder) - before, wall: add.wall + pin.wall})

	to, err := os.Create(back)
	if err != nil {
		return err
	}
	defer to.Close()
	before = used(holder, reader)
	cat, _, err := timed(reader.command(ctx, "cat", root), to)
	if err != nil {
		return err
	}
	cat.cpu += used(holder, reader) - before
	get(cat)
	return sameThenGone(file, back)
}
