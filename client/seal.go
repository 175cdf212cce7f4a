package client

import (
	"archive/tar"
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"filippo.io/age"
)

// identity reads the X25519 key with which files are encrypted for their owner alone, and makes one on first use.
func identity(path string) (*age.X25519Identity, error) {
	for range 2 {
		f, err := os.Open(path)
		if errors.Is(err, fs.ErrNotExist) {
			if err := createIdentity(path); err != nil {
				return nil, wrap(KindLocal, "encryption key", err)
			}
			continue
		}
		if err != nil {
			return nil, wrap(KindLocal, "encryption key", err)
		}
		defer f.Close()
		info, err := f.Stat()
		if err != nil {
			return nil, wrap(KindLocal, "encryption key", err)
		}
		if info.Mode().Perm()&0o077 != 0 {
			return nil, &Error{Kind: KindLocal, What: fmt.Sprintf("encryption key %s can be read by others (mode %04o)", path, info.Mode().Perm()), Hint: "chmod 600 " + path}
		}
		ids, err := age.ParseIdentities(f)
		if err != nil {
			return nil, wrap(KindLocal, "encryption key "+path, err)
		}
		if id, ok := ids[0].(*age.X25519Identity); ok {
			return id, nil
		}
		return nil, &Error{Kind: KindLocal, What: "encryption key " + path + " is no X25519 identity"}
	}
	return nil, &Error{Kind: KindLocal, What: "encryption key " + path + " vanished"}
}

// createIdentity links a complete file into place, so that of two processes one wins and neither reads half a key.
func createIdentity(path string) error {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".age-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = fmt.Fprintf(tmp, "# Whoever has this key reads your encrypted files; without it nobody does. Keep a copy.\n# public key: %s\n%s\n", id.Recipient(), id)
	if err == nil {
		err = tmp.Sync()
	}
	if e := tmp.Close(); err == nil {
		err = e
	}
	if err == nil {
		if err = os.Link(tmp.Name(), path); errors.Is(err, fs.ErrExist) {
			err = nil
		}
	}
	return err
}

// packedComment begins the tar of a folder, so that it is told from a tar file that was put as it was. Every tar program passes over it.
const packedComment = "cella packed folder"

// plain writes what lies at path as one stream: a file as it is, a folder as a tar of everything in it.
func plain(ctx context.Context, w io.Writer, path string) error {
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	switch {
	case info.Mode().IsRegular():
		return copyFile(ctx, w, path)
	case info.IsDir():
		return pack(ctx, w, path)
	}
	return fmt.Errorf("%s is neither a file nor a folder", path)
}

// digest is the SHA-256 of the stream that plain writes.
func digest(ctx context.Context, path string) (string, error) {
	h := sha256.New()
	if err := plain(ctx, h, path); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// encrypt writes path, packed if it is a folder, to out for the owners of some keys, and returns its digest; read counts the bytes that
// went in.
func encrypt(ctx context.Context, out io.Writer, path string, to []age.Recipient, read func(n int)) (string, error) {
	buf := bufio.NewWriterSize(out, 1<<20)
	w, err := age.Encrypt(buf, to...)
	if err != nil {
		return "", err
	}
	h := sha256.New()
	err = plain(ctx, io.MultiWriter(w, h, counter(read)), path)
	if err == nil {
		err = w.Close()
	}
	if err == nil {
		err = buf.Flush()
	}
	return hex.EncodeToString(h.Sum(nil)), err
}

// decrypt writes the file or folder that was encrypted to dest, which must not exist.
func decrypt(ctx context.Context, in io.Reader, dest string, id age.Identity, wrote func(n int)) error {
	r, err := age.Decrypt(in, id)
	if err != nil {
		return err
	}
	buf := bufio.NewReaderSize(io.TeeReader(reader{ctx, r}, counter(wrote)), 64<<10)
	// The comment is found within the first two blocks of a tar: header and record.
	if head, _ := buf.Peek(1024); len(head) == 1024 && head[156] == tar.TypeXGlobalHeader && bytes.Contains(head[512:], []byte("comment="+packedComment)) {
		return unpack(ctx, buf, dest)
	}
	f, err := os.OpenFile(dest, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o666)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, buf)
	if e := f.Close(); err == nil {
		err = e
	}
	return err
}

// pack writes a tar of a folder's content: relative names, modes and times, in the order of names.
func pack(ctx context.Context, w io.Writer, dir string) error {
	t := tar.NewWriter(w)
	err := t.WriteHeader(&tar.Header{Typeflag: tar.TypeXGlobalHeader, Name: "pax_global_header", PAXRecords: map[string]string{"comment": packedComment}})
	if err != nil {
		return err
	}
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil || rel == "." {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		var target string
		switch {
		case info.Mode().IsRegular(), info.IsDir():
		case info.Mode()&fs.ModeSymlink != 0:
			if target, err = os.Readlink(path); err != nil {
				return err
			}
		default:
			return fmt.Errorf("%s is neither a file, a folder nor a link", path)
		}
		h, err := tar.FileInfoHeader(info, target)
		if err != nil {
			return err
		}
		// Owners mean nothing elsewhere and their names are nobody's business; reading a file must not change its digest.
		h.Uid, h.Gid, h.Uname, h.Gname = 0, 0, "", ""
		h.AccessTime, h.ChangeTime = time.Time{}, time.Time{}
		h.Format = tar.FormatPAX
		h.Name = filepath.ToSlash(rel)
		if info.IsDir() {
			h.Name += "/"
		}
		if err := t.WriteHeader(h); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if !info.Mode().IsRegular() {
			return nil
		}
		if err := copyFile(ctx, t, path); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		return t.Flush() // fails if the file shrank under the walk
	})
	if err != nil {
		return err
	}
	return t.Close()
}

// unpack writes the members of a tar below dir, which it makes. No member can reach outside, not even over a link.
func unpack(ctx context.Context, r io.Reader, dir string) error {
	if err := os.Mkdir(dir, 0o777); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	for t := tar.NewReader(r); ; {
		h, err := t.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		name := filepath.FromSlash(h.Name)
		switch h.Typeflag {
		case tar.TypeXGlobalHeader:
		case tar.TypeDir:
			err = root.MkdirAll(filepath.Clean(name), 0o777)
		case tar.TypeSymlink:
			err = root.Symlink(h.Linkname, name)
		case tar.TypeReg:
			err = unpackFile(ctx, root, name, h, t)
		default:
			err = fmt.Errorf("member of type %q", h.Typeflag)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", h.Name, err)
		}
	}
}

func unpackFile(ctx context.Context, root *os.Root, name string, h *tar.Header, r io.Reader) error {
	mode := fs.FileMode(0o666)
	if h.Mode&0o100 != 0 {
		mode = 0o777
	}
	f, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, reader{ctx, r})
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = root.Chtimes(name, h.ModTime, h.ModTime)
	}
	return err
}

func copyFile(ctx context.Context, w io.Writer, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = io.Copy(w, reader{ctx, f})
	return err
}

// reader stops when ctx ends.
type reader struct {
	ctx context.Context
	r   io.Reader
}

func (r reader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}

// counter is a writer that counts.
type counter func(n int)

func (c counter) Write(p []byte) (int, error) {
	c(len(p))
	return len(p), nil
}
