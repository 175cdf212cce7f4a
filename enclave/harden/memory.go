package harden

import (
	"errors"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// chunk is how much secret memory is asked of the kernel at a time; it counts as locked memory, of which a plain user has
// little.
const chunk = 64 << 10

// Memory hands out memory for keys: outside of the Go heap, in pages that the kernel takes out of its own map
// (memfd_secret), so that no other process, driver or dump reads them. Where the kernel has none, or no more, they are
// plain pages kept out of dumps and forks. The zero value is ready.
type Memory struct {
	mu    sync.Mutex
	rest  []byte
	pages [][]byte
	plain error // why the last chunk was not secret
}

// Alloc returns n zeroed bytes that stay until Wipe.
func (m *Memory) Alloc(n int) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	if n > len(m.rest) {
		m.grow(max(n, chunk))
	}
	b := m.rest[:n:n]
	m.rest = m.rest[(n+31)&^31:]
	return b
}

// Wipe zeroes all that was handed out; it stays usable.
func (m *Memory) Wipe() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range m.pages {
		clear(p)
	}
}

// probe makes the first chunk and tells whether it is secret.
func (m *Memory) probe() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.pages) == 0 {
		m.grow(chunk)
	}
	return m.plain
}

func (m *Memory) grow(n int) {
	n = (n + chunk - 1) &^ (chunk - 1)
	p, err := secretPages(n)
	m.plain = err
	if err != nil {
		p, err = plainPages(n)
	}
	if err != nil {
		panic(fmt.Sprintf("no memory for keys: %v", err))
	}
	m.pages, m.rest = append(m.pages, p), p
}

func secretPages(n int) ([]byte, error) {
	fd, err := unix.MemfdSecret(unix.O_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("memfd_secret: %w", err)
	}
	defer unix.Close(fd) // the mapping stays
	if err := unix.Ftruncate(fd, int64(n)); err != nil {
		return nil, fmt.Errorf("memfd_secret: %w", err)
	}
	p, err := unix.Mmap(fd, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("memfd_secret: %w", err)
	}
	return p, nil
}

func plainPages(n int) ([]byte, error) {
	p, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return nil, err
	}
	return p, errors.Join(unix.Madvise(p, unix.MADV_DONTDUMP), unix.Madvise(p, unix.MADV_WIPEONFORK))
}
