package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// repository copies the files that git tracks below the working folder.
func repository(ctx context.Context, to string) (string, error) {
	out, err := exec.CommandContext(ctx, "git", "ls-files", "-z").Output()
	if err != nil {
		return "", fmt.Errorf("git ls-files: %w", err)
	}
	for _, name := range strings.Split(strings.TrimRight(string(out), "\x00"), "\x00") {
		content, err := os.ReadFile(name)
		if err != nil {
			return "", err
		}
		target := filepath.Join(to, name)
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return "", err
		}
		if err := os.WriteFile(target, content, 0o644); err != nil {
			return "", err
		}
	}
	return to, nil
}

// bytesUnder is about what a file or folder takes when stored: every small file fills a block of its own.
func bytesUnder(path string) (int64, error) {
	const cell = 4096
	var sum int64
	err := filepath.WalkDir(path, func(_ string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		sum += (info.Size() + 2*cell) / cell * cell
		return nil
	})
	return sum, err
}

// same compares two files or trees: names, kinds, links and bytes.
func same(a, b string) error {
	names := func(root string) ([]string, error) {
		var all []string
		err := filepath.WalkDir(root, func(p string, e fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			rel, err := filepath.Rel(root, p)
			all = append(all, e.Type().String()+" "+rel)
			return err
		})
		return all, err
	}
	left, err := names(a)
	if err != nil {
		return err
	}
	right, err := names(b)
	if err != nil {
		return err
	}
	if len(left) != len(right) {
		return fmt.Errorf("%d names, want %d", len(right), len(left))
	}
	for i := range left {
		if left[i] != right[i] {
			return fmt.Errorf("%q, want %q", right[i], left[i])
		}
		if err := sameEntry(filepath.Join(a, left[i][11:]), filepath.Join(b, left[i][11:])); err != nil {
			return err
		}
	}
	return nil
}

func sameEntry(a, b string) error {
	info, err := os.Lstat(a)
	if err != nil {
		return err
	}
	switch {
	case info.Mode()&fs.ModeSymlink != 0:
		x, err := os.Readlink(a)
		if err != nil {
			return err
		}
		y, err := os.Readlink(b)
		if err != nil {
			return err
		}
		if x != y {
			return fmt.Errorf("%s links to %q, want %q", b, y, x)
		}
	case info.Mode().IsRegular():
		return sameBytes(a, b)
	}
	return nil
}

func sameBytes(a, b string) error {
	x, err := os.Open(a)
	if err != nil {
		return err
	}
	defer x.Close()
	y, err := os.Open(b)
	if err != nil {
		return err
	}
	defer y.Close()
	bufX, bufY := make([]byte, 1<<20), make([]byte, 1<<20)
	for at := int64(0); ; {
		n, errX := io.ReadFull(x, bufX)
		m, errY := io.ReadFull(y, bufY)
		if !bytes.Equal(bufX[:n], bufY[:m]) {
			return fmt.Errorf("%s differs within a megabyte of %d", b, at)
		}
		if errX != nil || errY != nil {
			if errX != io.EOF && errX != io.ErrUnexpectedEOF {
				return errX
			}
			return nil
		}
		at += int64(n)
	}
}
