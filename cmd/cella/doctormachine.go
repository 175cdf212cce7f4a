package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// File systems that lose sectors, or are too slow for draws, by statfs(2).
var badFileSystems = map[int64]string{
	unix.TMPFS_MAGIC:           "tmpfs, which is memory",
	unix.RAMFS_MAGIC:           "ramfs, which is memory",
	unix.OVERLAYFS_SUPER_MAGIC: "overlayfs, which containers throw away",
	unix.NFS_SUPER_MAGIC:       "NFS",
	unix.SMB_SUPER_MAGIC:       "SMB",
	unix.SMB2_SUPER_MAGIC:      "SMB",
	unix.CIFS_SUPER_MAGIC:      "CIFS",
	unix.FUSE_SUPER_MAGIC:      "FUSE",
}

const (
	probeBytes  = 32 << 20
	slowDisk    = 20 << 20 // bytes a second
	chainRoom   = 20 << 30 // bytes that the chain's data grows to
	leastFiles  = 4096
	enoughFiles = 65_536
	leastMemory = 2 << 30
)

// existing is the nearest folder above a path that is there.
func existing(path string) string {
	for {
		if _, err := os.Stat(path); err == nil || path == filepath.Dir(path) {
			return path
		}
		path = filepath.Dir(path)
	}
}

// checkDisk compares quota and room, and tries the disk.
func (d *doctor) checkDisk() {
	dir := diskDir(d.home, d.cfg)
	at := existing(dir)
	var st unix.Statfs_t
	if err := unix.Statfs(at, &st); err != nil {
		d.fail("disk", "set disk.dir in cella.toml", "%s: %v", at, err)
		return
	}
	used, err := sizeOf(dir)
	if err != nil {
		d.fail("disk", "chown -R the folder to the user that runs the node", "%v", err)
		return
	}
	quota := uint64(d.cfg.Disk.Sectors) * d.terms.sectorSize
	quota += quota / 50 // tag pages and index
	free := st.Bavail * uint64(st.Bsize)
	switch {
	case used+free < quota:
		d.fail("disk", fmt.Sprintf("set disk.sectors = %d in cella.toml, or make room", (used+free)*50/51/d.terms.sectorSize), "the quota of %d sectors takes %s; %s holds %s and has %s free",
			d.cfg.Disk.Sectors, bytesWords(quota), dir, bytesWords(used), bytesWords(free))
	default:
		d.ok("disk", "%s holds %s and has %s free; the quota takes %s", dir, bytesWords(used), bytesWords(free), bytesWords(quota))
	}
	if name := badFileSystems[st.Type]; name != "" {
		d.warn("disk", "set disk.dir in cella.toml to a folder of a local disk", "%s lies on %s", at, name)
	}
	d.tryDisk(at)
	d.sameDisk(dir)
	if err := unix.Statfs(existing(filepath.Join(d.home, "data")), &st); err == nil && st.Bavail*uint64(st.Bsize) < chainRoom && !d.terms.attest.Devnet {
		d.warn("disk", "move the home to a larger disk", "the chain's data may grow to %s; %s has %s free", bytesWords(chainRoom), d.home, bytesWords(st.Bavail*uint64(st.Bsize)))
	}
}

// tryDisk writes for a moment, and syncs.
func (d *doctor) tryDisk(dir string) {
	f, err := os.CreateTemp(dir, ".cella-doctor-*")
	if err != nil {
		d.fail("disk", "chown the folder to the user that runs the node", "can't write: %v", err)
		return
	}
	defer os.Remove(f.Name())
	defer f.Close()
	began := time.Now()
	chunk := make([]byte, 1<<20)
	for i := range chunk {
		chunk[i] = byte(i * 7)
	}
	for range probeBytes / len(chunk) {
		if _, err = f.Write(chunk); err != nil {
			break
		}
	}
	if err == nil {
		err = f.Sync()
	}
	if err != nil {
		d.fail("disk", "make room, or set disk.dir in cella.toml", "writing to %s: %v", dir, err)
		return
	}
	rate := float64(probeBytes) / time.Since(began).Seconds()
	if rate < slowDisk {
		d.warn("disk", "use a faster disk", "%s takes %s/s; less than %s/s is too slow to fill it and to answer draws", dir, bytesWords(uint64(rate)), bytesWords(slowDisk))
		return
	}
	d.ok("disk", "%s takes %s/s", dir, bytesWords(uint64(rate)))
}

// sameDisk sees that sectors and index lie on one file system: they are renamed and synced together.
func (d *doctor) sameDisk(dir string) {
	var devices []uint64
	for _, name := range []string{"sectors", "index"} {
		var st unix.Stat_t
		if err := unix.Stat(existing(filepath.Join(dir, name)), &st); err != nil {
			d.fail("disk", "", "%s: %v", filepath.Join(dir, name), err)
			return
		}
		devices = append(devices, st.Dev)
	}
	if devices[0] != devices[1] {
		d.fail("disk", "let "+filepath.Join(dir, "index")+" and "+filepath.Join(dir, "sectors")+" be plain folders of one disk", "sectors and index lie on two file systems")
	}
}

// sizeOf is what the files below a folder take.
func sizeOf(dir string) (uint64, error) {
	var sum uint64
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return ignoreGone(err)
		}
		info, err := e.Info()
		if err == nil {
			sum += uint64(info.Size())
		}
		return ignoreGone(err)
	})
	return sum, err
}

// ignoreGone passes over files that a running node removed.
func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// checkClock asks the kernel whether the clock is kept right, and a distant node for its own.
func (d *doctor) checkClock() {
	if d.chain != nil && remote(d.asked) {
		if off, err := offBy(d.asked); err == nil && off.Abs() > slack {
			d.fail("clock", "timedatectl set-ntp true", "this machine's clock and that of %s are %s apart", d.asked, off.Abs().Round(time.Second))
			return
		}
	}
	var t unix.Timex
	if _, err := unix.Adjtimex(&t); err != nil || t.Status&unix.STA_UNSYNC != 0 {
		d.warn("clock", "timedatectl set-ntp true", "nothing keeps this machine's clock right, as far as its kernel knows; blocks of a clock that is more than %s off are refused", slack)
		return
	}
	d.ok("clock", "it is kept right; the last estimate of its error is %s", time.Duration(t.Maxerror)*time.Microsecond)
}

// offBy is by how much another machine's clock is ahead, to the second, by what its web server says.
func offBy(rpc string) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.Replace(rpc, "tcp://", "http://", 1)+"/health", nil)
	if err != nil {
		return 0, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	at, err := http.ParseTime(res.Header.Get("Date"))
	return time.Until(at), err
}

func (d *doctor) checkLimits() {
	var r unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &r); err != nil {
		d.warn("files", "", "the limit of open files: %v", err)
		return
	}
	const fix = "LimitNOFILE=65536 in the systemd unit, or ulimit -n 65536 before the start"
	switch { // the Go runtime raises its own limit to the hard one
	case r.Max < leastFiles:
		d.fail("files", fix, "at most %d files may be open, want %d", r.Max, enoughFiles)
	case r.Max < enoughFiles:
		d.warn("files", fix, "at most %d files may be open, want %d", r.Max, enoughFiles)
	default:
		d.ok("files", "%d files may be open", r.Max)
	}
}

func (d *doctor) checkMemory() {
	info, err := meminfo()
	if err != nil {
		d.warn("memory", "", "%v", err)
		return
	}
	if total := info["MemTotal"]; total < leastMemory {
		d.warn("memory", "use a machine with at least "+bytesWords(leastMemory), "this machine has %s", bytesWords(total))
	} else {
		d.ok("memory", "%s, of which %s are available", bytesWords(total), bytesWords(info["MemAvailable"]))
	}
	if swap := info["SwapTotal"]; swap > 0 {
		d.warn("memory", "swapoff -a, or encrypt the swap", "%s of swap: what the enclave works on may get to the disk", bytesWords(swap))
	}
}

// meminfo reads /proc/meminfo, in bytes.
func meminfo() (map[string]uint64, error) {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	out := map[string]uint64{}
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		name, rest, _ := strings.Cut(lines.Text(), ":")
		if kb, err := strconv.ParseUint(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64); err == nil {
			out[name] = kb << 10
		}
	}
	return out, lines.Err()
}

func (d *doctor) checkUnit() {
	for _, path := range []string{systemUnit, homeUnit(d.home)} {
		if _, err := os.Stat(path); err == nil {
			d.ok("service", "%s is there", path)
			return
		}
	}
	if d.terms.attest.Devnet {
		d.ok("service", "a devnet needs none")
		return
	}
	d.warn("service", "cella node init --systemd --home "+d.home, "no systemd unit: the node won't start again by itself")
}
