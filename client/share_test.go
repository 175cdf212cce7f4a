package client

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"
	"filippo.io/age/armor"
	"github.com/ipfs/go-cid"
)

func newKey(t testing.TB) *age.X25519Identity {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return id
}

// sealed encrypts a file for a key and returns a grant for it, as Share makes one.
func sealed(t testing.TB, text string, owner *age.X25519Identity) ([]byte, grant) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var file bytes.Buffer
	if _, err := encrypt(t.Context(), &file, path, []age.Recipient{owner.Recipient()}, func(int) {}); err != nil {
		t.Fatal(err)
	}
	header, err := age.ExtractHeader(bytes.NewReader(file.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	key, err := age.DecryptHeader(header, owner)
	if err != nil {
		t.Fatal(err)
	}
	root := cid.MustParse("bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku")
	return file.Bytes(), grant{Chain: "cella-test", Name: "diary", Root: root, Key: fileKey(key)}
}

func seal(t testing.TB, g grant, to ...*age.X25519Identity) []byte {
	t.Helper()
	var rs []age.Recipient
	for _, id := range to {
		rs = append(rs, id.Recipient())
	}
	b, err := g.seal(rs)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestGrantOpensItsFileAlone(t *testing.T) {
	alice, bob, carol, eve := newKey(t), newKey(t), newKey(t), newKey(t)
	file, g := sealed(t, "dear diary", alice)
	other, _ := sealed(t, "dear other diary", alice)
	sent := seal(t, g, bob, carol)
	for name, id := range map[string]*age.X25519Identity{"bob": bob, "carol": carol} {
		got, err := unsealGrant(bytes.NewReader(sent), id)
		if err != nil || got != g {
			t.Fatalf("%s: %v, %v", name, got, err)
		}
		dest := filepath.Join(t.TempDir(), "out")
		if err := decrypt(t.Context(), bytes.NewReader(file), dest, age.NewInjectedFileKeyIdentity(got.Key[:]), func(int) {}); err != nil {
			t.Fatal(err)
		}
		if b, _ := os.ReadFile(dest); string(b) != "dear diary" {
			t.Errorf("%q", b)
		}
		// The key is that of one file: another one of the same owner stays shut.
		err = decrypt(t.Context(), bytes.NewReader(other), filepath.Join(t.TempDir(), "out"), age.NewInjectedFileKeyIdentity(got.Key[:]), func(int) {})
		if err == nil || !strings.Contains(err.Error(), "MAC") {
			t.Errorf("another file: %v", err)
		}
	}
	for name, id := range map[string]*age.X25519Identity{"eve": eve, "its owner, whose file it is but not his grant": alice} {
		var wrong *age.NoIdentityMatchError
		if _, err := unsealGrant(bytes.NewReader(sent), id); !errors.As(err, &wrong) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A byte that changes on the way is noticed, wherever it stands.
func TestTamperedGrant(t *testing.T) {
	bob := newKey(t)
	_, g := sealed(t, "dear diary", newKey(t))
	var plain bytes.Buffer
	if _, err := io.Copy(&plain, armor.NewReader(bytes.NewReader(seal(t, g, bob)))); err != nil {
		t.Fatal(err)
	}
	if got, err := unsealGrant(bytes.NewReader(plain.Bytes()), bob); err != nil || got != g {
		t.Fatalf("without armor: %v", err)
	}
	for i := range plain.Bytes() {
		b := bytes.Clone(plain.Bytes())
		b[i] ^= 1
		if got, err := unsealGrant(bytes.NewReader(b), bob); err == nil {
			t.Fatalf("byte %d changed: %v", i, got)
		}
		if got, err := unsealGrant(bytes.NewReader(plain.Bytes()[:i]), bob); err == nil {
			t.Fatalf("cut at %d: %v", i, got)
		}
	}
}

func TestParseGrant(t *testing.T) {
	_, g := sealed(t, "x", newKey(t))
	text := string(g.marshal())
	if got, err := parseGrant([]byte(text)); err != nil || got != g {
		t.Fatal(got, err)
	}
	nameless := g
	nameless.Name = ""
	if got, err := parseGrant(nameless.marshal()); err != nil || got != nameless {
		t.Fatal(got, err)
	}
	key := base64.StdEncoding.EncodeToString(g.Key[:])
	for name, bad := range map[string]string{
		"empty":             "",
		"another version":   strings.Replace(text, "grant 1", "grant 2", 1),
		"line more":         text + "\n",
		"hidden file":       strings.Replace(text, "name diary", "name .bash_aliases", 1),
		"line less":         strings.Replace(text, "name diary\n", "", 1),
		"no line end":       strings.TrimSuffix(text, "\n"),
		"field":             strings.Replace(text, "root ", "toor ", 1),
		"order":             strings.Replace(strings.Replace(text, "chain cella-test", "root x", 1), "root b", "chain b", 1),
		"root":              strings.Replace(text, "root b", "root x", 1),
		"root another way":  strings.Replace(text, g.Root.String(), "B"+strings.ToUpper(g.Root.String()[1:]), 1),
		"key short":         strings.Replace(text, key, base64.StdEncoding.EncodeToString(g.Key[1:]), 1),
		"key long":          strings.Replace(text, key, base64.StdEncoding.EncodeToString(append(g.Key[:], 1)), 1),
		"key no base64":     strings.Replace(text, key, "!"+key[1:], 1),
		"way out":           strings.Replace(text, "name diary", "name ../diary", 1),
		"root of the disk":  strings.Replace(text, "name diary", "name /etc/passwd", 1),
		"this folder":       strings.Replace(text, "name diary", "name .", 1),
		"folder above":      strings.Replace(text, "name diary", "name ..", 1),
		"of another system": strings.Replace(text, "name diary", `name a\b`, 1),
		"control character": strings.Replace(text, "name diary", "name a\x1b[2Jb", 1),
		"too long":          strings.Replace(text, "name diary", "name "+strings.Repeat("n", 256), 1),
		"far too long":      strings.Replace(text, "name diary", "name "+strings.Repeat("n", maxGrant), 1),
	} {
		_, err := parseGrant([]byte(bad))
		if err == nil {
			t.Errorf("%s: accepted", name)
		} else if strings.Contains(err.Error(), key) || strings.Contains(err.Error(), key[1:]) {
			t.Errorf("%s: the error tells the key: %v", name, err)
		}
	}
}

// The key of a file is in nothing that can be read: not in the grant, not in what prints one.
func TestFileKeyIsNeverInTheClear(t *testing.T) {
	bob := newKey(t)
	_, g := sealed(t, "x", newKey(t))
	secrets := [][]byte{g.Key[:], []byte(hex.EncodeToString(g.Key[:])), []byte(base64.StdEncoding.EncodeToString(g.Key[:])),
		[]byte(strings.Trim(fmt.Sprint([16]byte(g.Key)), "[]"))}
	shown := [][]byte{seal(t, g, bob)}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%X", "%q"} {
		shown = append(shown, fmt.Appendf(nil, verb, g), fmt.Appendf(nil, verb, &g), fmt.Appendf(nil, verb, g.Key))
	}
	for _, s := range shown {
		for _, k := range secrets {
			if bytes.Contains(bytes.ToLower(s), bytes.ToLower(k)) {
				t.Errorf("the key is in %q", s)
			}
		}
	}
}

func TestRecipients(t *testing.T) {
	a, b := newKey(t).Recipient().String(), newKey(t).Recipient().String()
	file := filepath.Join(t.TempDir(), "friends")
	if err := os.WriteFile(file, []byte("# friends\n"+a+"\n\n"+b+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	names, to, err := recipients([]string{b, file, a})
	if err != nil || len(names) != 2 || len(to) != 2 || names[0] >= names[1] {
		t.Fatalf("%v, %v", names, err)
	}
	hybrid, err := age.GenerateHybridIdentity()
	if err != nil {
		t.Fatal(err)
	}
	many := make([]string, maxRecipients+1)
	for i := range many {
		many[i] = newKey(t).Recipient().String()
	}
	for name, bad := range map[string][]string{
		"typo": {a[:len(a)-1] + "x"}, "no file": {"missing"}, "secret key": {newKey(t).String()}, "another kind": {hybrid.Recipient().String()}, "too many": many,
	} {
		if _, _, err := recipients(bad); !IsKind(err, KindUsage) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Every recipient opens what was encrypted for several, and nobody else does.
func TestEncryptForSeveral(t *testing.T) {
	me, bob, eve := newKey(t), newKey(t), newKey(t)
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte("plans"), 0o600); err != nil {
		t.Fatal(err)
	}
	var file bytes.Buffer
	if _, err := encrypt(t.Context(), &file, path, []age.Recipient{me.Recipient(), bob.Recipient()}, func(int) {}); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		id *age.X25519Identity
		ok bool
	}{"me": {me, true}, "bob": {bob, true}, "eve": {eve, false}} {
		err := decrypt(t.Context(), bytes.NewReader(file.Bytes()), filepath.Join(t.TempDir(), "out"), c.id, func(int) {})
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzParseGrant(f *testing.F) {
	_, g := sealed(f, "x", newKey(f))
	f.Add(g.marshal())
	f.Add([]byte("cella grant 1\nchain c\nroot bafkqaaa\nname \nkey AAAAAAAAAAAAAAAAAAAAAA==\n"))
	f.Add([]byte("cella grant 1\n\n\n\n\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		g, err := parseGrant(text)
		if err != nil {
			return
		}
		if !bytes.Equal(g.marshal(), text) {
			t.Fatalf("another encoding of %v", g)
		}
		if g.Name != "" && filepath.Join("dir", g.Name) != "dir/"+g.Name {
			t.Fatalf("name %q leads elsewhere", g.Name)
		}
	})
}
