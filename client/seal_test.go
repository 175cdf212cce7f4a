package client

import (
	"archive/tar"
	"bytes"
	"context"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"
)

func TestIdentityIsMadeOnceAndKeptPrivate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config", "age.key")
	a, err := identity(path)
	if err != nil {
		t.Fatal(err)
	}
	b, err := identity(path)
	if err != nil || a.String() != b.String() {
		t.Fatal("another key the second time", err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatal(info.Mode(), err)
	}
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := identity(path); !IsKind(err, KindLocal) || !strings.Contains(err.Error(), "read by others") {
		t.Fatal(err)
	}
}

// tree makes a folder with what folders can hold, and returns it.
func tree(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "tree")
	for name, text := range map[string]string{"a": "", "b/ünï cödé\n": "x", "b/c/run": strings.Repeat("long ", 50_000), ".hidden": "h", strings.Repeat("n", 200): "name"} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(filepath.Join(dir, "b/c/run"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "empty"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/nowhere/else", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	return dir
}

// listing describes a tree: names, kinds, the executable bit, content.
func listing(t *testing.T, dir string) string {
	t.Helper()
	var out strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		info, err := d.Info()
		if err != nil {
			return err
		}
		text := ""
		switch {
		case d.Type().IsRegular():
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			h := hashOf(b)
			text = string(h[:])
		case d.Type()&fs.ModeSymlink != 0:
			if text, err = os.Readlink(path); err != nil {
				return err
			}
		}
		_, err = io.WriteString(&out, rel+"|"+d.Type().String()+"|"+(info.Mode()&0o100).String()+"|"+text+"\n")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func sealTo(t *testing.T, path string, to age.Recipient) (sealed []byte, sum string) {
	t.Helper()
	var buf bytes.Buffer
	sum, err := encrypt(t.Context(), &buf, path, []age.Recipient{to}, func(int) {})
	if err != nil {
		t.Fatal(err)
	}
	return buf.Bytes(), sum
}

func TestEncryptHidesAndGivesBack(t *testing.T) {
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	dir := tree(t)
	file := filepath.Join(dir, "b/c/run")
	ownTar := filepath.Join(t.TempDir(), "own.tar") // a tar file that somebody puts stays a tar file
	var buf bytes.Buffer
	w := tar.NewWriter(&buf)
	if err := w.AddFS(os.DirFS(filepath.Join(dir, "b"))); err != nil {
		t.Fatal(err)
	}
	w.Close()
	if err := os.WriteFile(ownTar, buf.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, path := range map[string]string{"folder": dir, "file": file, "empty file": filepath.Join(dir, "a"), "tar file": ownTar} {
		t.Run(name, func(t *testing.T) {
			sealed, sum := sealTo(t, path, id.Recipient())
			if bytes.Contains(sealed, []byte("long long")) || bytes.Contains(sealed, []byte("c/run")) {
				t.Fatal("readable")
			}
			again, err := digest(t.Context(), path)
			if err != nil || again != sum {
				t.Fatalf("digest %s then %s (%v): a put that is run again would not be known", sum, again, err)
			}
			dest := filepath.Join(t.TempDir(), "out")
			if err := decrypt(t.Context(), bytes.NewReader(sealed), dest, id, func(int) {}); err != nil {
				t.Fatal(err)
			}
			if info, _ := os.Stat(path); info.IsDir() {
				if got, want := listing(t, dest), listing(t, path); got != want {
					t.Fatalf("got\n%s\nwant\n%s", got, want)
				}
				return
			}
			got, _ := os.ReadFile(dest)
			want, _ := os.ReadFile(path)
			if !bytes.Equal(got, want) {
				t.Fatal("another content")
			}
		})
	}
}

func TestDecryptRefuses(t *testing.T) {
	id, _ := age.GenerateX25519Identity()
	other, _ := age.GenerateX25519Identity()
	sealed, _ := sealTo(t, tree(t), id.Recipient())
	flipped := bytes.Clone(sealed)
	flipped[len(flipped)-1] ^= 1
	for name, c := range map[string]struct {
		in []byte
		id age.Identity
	}{"another key": {sealed, other}, "cut": {sealed[:len(sealed)-20], id}, "changed": {flipped, id}, "empty": {nil, id}, "plain": {[]byte("hello"), id}} {
		if err := decrypt(t.Context(), bytes.NewReader(c.in), filepath.Join(t.TempDir(), "out"), c.id, func(int) {}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// A folder that somebody else packed reaches nothing outside of its destination.
func TestUnpackStaysInside(t *testing.T) {
	for name, members := range map[string][]tar.Header{
		"parent":             {{Name: "../evil", Typeflag: tar.TypeReg}},
		"absolute":           {{Name: "/tmp/evil-of-unpack", Typeflag: tar.TypeReg}},
		"over a link":        {{Name: "l", Typeflag: tar.TypeSymlink, Linkname: ".."}, {Name: "l/evil", Typeflag: tar.TypeReg}},
		"folder over a link": {{Name: "l", Typeflag: tar.TypeSymlink, Linkname: ".."}, {Name: "l/evil/", Typeflag: tar.TypeDir}},
		"hard link":          {{Name: "h", Typeflag: tar.TypeLink, Linkname: "../outside"}},
		"device":             {{Name: "d", Typeflag: tar.TypeChar}},
		"twice":              {{Name: "f", Typeflag: tar.TypeReg}, {Name: "f", Typeflag: tar.TypeReg}},
	} {
		t.Run(name, func(t *testing.T) {
			parent := t.TempDir()
			if err := os.WriteFile(filepath.Join(parent, "outside"), []byte("mine"), 0o600); err != nil {
				t.Fatal(err)
			}
			var buf bytes.Buffer
			w := tar.NewWriter(&buf)
			for _, h := range members {
				h.Mode = 0o644
				if err := w.WriteHeader(&h); err != nil {
					t.Fatal(err)
				}
			}
			w.Close()
			if err := unpack(t.Context(), &buf, filepath.Join(parent, "out")); err == nil {
				t.Error("accepted")
			}
			left, err := os.ReadDir(parent)
			if err != nil || len(left) != 2 {
				t.Fatalf("%v %v", left, err)
			}
			if _, err := os.Lstat("/tmp/evil-of-unpack"); err == nil {
				t.Error("written outside")
			}
		})
	}
}

func TestPackRefusesWhatIsNoFile(t *testing.T) {
	dir := tree(t)
	if err := os.Remove(filepath.Join(dir, "a")); err != nil {
		t.Fatal(err)
	}
	mkfifo(t, filepath.Join(dir, "a"))
	if err := pack(t.Context(), io.Discard, dir); err == nil {
		t.Fatal("a named pipe was packed")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := pack(ctx, io.Discard, tree(t)); err == nil {
		t.Fatal("went on after it was cancelled")
	}
}
