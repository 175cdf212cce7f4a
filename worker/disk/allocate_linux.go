package disk

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// allocate gives a file its whole size. File systems without preallocation get a sparse file.
func allocate(f *os.File, size int64) error {
	err := unix.Fallocate(int(f.Fd()), 0, 0, size)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		return f.Truncate(size)
	}
	return err
}

// openDirect opens a file for writing past the page cache; nil where the file system can't.
func openDirect(path string) *os.File {
	f, err := os.OpenFile(path, os.O_WRONLY|unix.O_DIRECT, 0)
	if err != nil {
		return nil
	}
	return f
}
