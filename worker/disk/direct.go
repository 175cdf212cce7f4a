package disk

import (
	"errors"
	"os"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

// directFrom is how many bytes are worth a write past the page cache. Sealed bytes are read rarely and never soon: in the cache they
// would cost a copy, fresh memory and what others have there. Short writes gather in the cache until Sync.
const directFrom = 256 << 10

const hugePage = 2 << 20

// write puts parts, whole pages each, one after the other into the sector's file.
func (s *sector) write(at int64, parts ...[]byte) error {
	var size int
	for _, p := range parts {
		size += len(p)
	}
	done := 0
	if s.direct != nil && size >= directFrom {
		n, err := s.writeDirect(at, parts, size)
		if err != nil && !errors.Is(err, unix.EINVAL) {
			return err
		}
		if err != nil { // a file system that opens files for it and then refuses
			s.closeDirect()
		}
		done = n
	}
	for _, p := range parts {
		if done >= len(p) {
			done -= len(p)
			at += int64(len(p))
			continue
		}
		if _, err := s.file.WriteAt(p[done:], at+int64(done)); err != nil {
			return err
		}
		at, done = at+int64(len(p)), 0
	}
	return nil
}

// writeDirect writes past the page cache, perhaps not all. That takes memory which begins on a page; else all is copied to such.
func (s *sector) writeDirect(at int64, parts [][]byte, size int) (int, error) {
	if slices.ContainsFunc(parts, func(p []byte) bool { return !onPage(p) }) {
		if len(s.stage) < size {
			s.stage = pages(size)
		}
		stage := s.stage[:0]
		for _, p := range parts {
			stage = append(stage, p...)
		}
		parts = [][]byte{stage}
	}
	for {
		n, err := unix.Pwritev(int(s.direct.Fd()), parts, at)
		if !errors.Is(err, unix.EINTR) {
			return max(n, 0), os.NewSyscallError("pwritev", err)
		}
	}
}

func (s *sector) closeDirect() {
	if s.direct != nil {
		_ = s.direct.Close() // nothing waits in it
	}
	s.direct, s.stage = nil, nil
}

// pages is memory that begins on a page.
func pages(n int) []byte {
	p := make([]byte, n+cell)
	skip := -int(uintptr(unsafe.Pointer(&p[0]))) & (cell - 1)
	return p[skip : skip+n : skip+n]
}

// Buffer is memory for n bytes of what Append and Fill will write. Where it can be it lies in huge pages: past the page cache the kernel
// then writes a few pieces instead of hundreds.
func Buffer(n int) []byte {
	size := (n + hugePage - 1) &^ (hugePage - 1)
	p := make([]byte, size+hugePage)
	skip := -int(uintptr(unsafe.Pointer(&p[0]))) & (hugePage - 1)
	p = p[skip : skip+size]
	_ = unix.Madvise(p, unix.MADV_HUGEPAGE) // small pages do as well
	return p[:n:n]
}

func onPage(p []byte) bool {
	return len(p) > 0 && uintptr(unsafe.Pointer(&p[0]))&(cell-1) == 0
}
