package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"filippo.io/age"
	"filippo.io/age/armor"
	"github.com/ipfs/go-cid"

	"github.com/cella-network/cella/content"
)

const (
	maxRecipients = 100
	maxAgeHeader  = 1 << 20  // bytes; a recipient takes about a hundred
	maxGrantFile  = 64 << 10 // bytes
	maxGrant      = 4 << 10  // bytes, decrypted
	shareStall    = 2 * time.Minute
)

func (c *Client) keyPath() string { return filepath.Join(c.opts.Home, "config", "age.key") }

// Recipient is what others name to encrypt something for this home: age1... The key behind it is made on first use.
func (c *Client) Recipient() (string, error) {
	id, err := identity(c.keyPath())
	if err != nil {
		return "", err
	}
	return id.Recipient().String(), nil
}

// recipients reads age1... strings and files with one a line, and returns each once, in the order of their strings.
func recipients(from []string) ([]string, []age.Recipient, error) {
	var all []*age.X25519Recipient
	for _, s := range from {
		text := s
		if !strings.HasPrefix(s, "age1") {
			b, err := os.ReadFile(s)
			if err != nil {
				return nil, nil, &Error{Kind: KindUsage, What: fmt.Sprintf("%q is neither a recipient nor a file of them", s), Cause: cause(err), Hint: "cella share --me prints a person's recipient, age1..."}
			}
			text = string(b)
		}
		found, err := age.ParseRecipients(strings.NewReader(text))
		if err != nil {
			return nil, nil, &Error{Kind: KindUsage, What: fmt.Sprintf("recipient %q", s), Cause: err, Hint: "cella share --me prints a person's recipient, age1..."}
		}
		for _, r := range found {
			x, ok := r.(*age.X25519Recipient)
			if !ok {
				return nil, nil, &Error{Kind: KindUsage, What: fmt.Sprintf("recipient %q is of another kind of key than cella's", s), Hint: "cella share --me prints one that fits"}
			}
			all = append(all, x)
		}
	}
	slices.SortFunc(all, func(a, b *age.X25519Recipient) int { return strings.Compare(a.String(), b.String()) })
	all = slices.CompactFunc(all, func(a, b *age.X25519Recipient) bool { return a.String() == b.String() })
	if len(all) > maxRecipients {
		return nil, nil, &Error{Kind: KindUsage, What: fmt.Sprintf("%d recipients, at most %d", len(all), maxRecipients)}
	}
	names, out := make([]string, len(all)), make([]age.Recipient, len(all))
	for i, r := range all {
		names[i], out[i] = r.String(), r
	}
	return names, out, nil
}

// fileKey opens one encrypted file. It prints as nothing, so that no message or log shows it.
type fileKey [16]byte

func (fileKey) String() string   { return "(file key)" }
func (fileKey) GoString() string { return "(file key)" }

// grant lets whoever has it read one encrypted file: it is all that a recipient of that file would find out by his own key.
type grant struct {
	Chain string
	Name  string // a suggestion: one element of a path, or empty
	Root  cid.Cid
	Key   fileKey
}

const grantHead = "cella grant 1"

// marshal is the one encoding of a grant; it goes nowhere but into age.Encrypt.
func (g grant) marshal() []byte {
	return fmt.Appendf(nil, "%s\nchain %s\nroot %s\nname %s\nkey %s\n", grantHead, g.Chain, g.Root, g.Name, base64.StdEncoding.EncodeToString(g.Key[:]))
}

// parseGrant reads the encoding and nothing else. Its errors tell nothing of the text.
func parseGrant(text []byte) (g grant, err error) {
	if len(text) > maxGrant {
		return grant{}, fmt.Errorf("more than %d bytes", maxGrant)
	}
	lines := strings.Split(string(text), "\n")
	if len(lines) != 6 || lines[0] != grantHead || lines[5] != "" {
		return grant{}, errors.New("no grant of a version that is known here")
	}
	values := [4]string{}
	for i, field := range []string{"chain ", "root ", "name ", "key "} {
		value, ok := strings.CutPrefix(lines[1+i], field)
		if !ok {
			return grant{}, fmt.Errorf("line %d is no %q", 2+i, strings.TrimSpace(field))
		}
		values[i] = value
	}
	g.Chain, g.Name = values[0], values[2]
	if g.Root, err = cid.Decode(values[1]); err != nil {
		return grant{}, errors.New("its root is no CID")
	}
	if g.Name != "" && !plainName(g.Name) {
		return grant{}, errors.New("its name is no file name")
	}
	key, err := base64.StdEncoding.DecodeString(values[3])
	if err != nil || len(key) != len(g.Key) {
		return grant{}, errors.New("its key is none")
	}
	g.Key = fileKey(key)
	clear(key)
	again := g.marshal()
	defer clear(again)
	if !bytes.Equal(again, text) {
		return grant{}, errors.New("not in its one encoding")
	}
	return g, nil
}

// plainName tells whether a stranger's word can be the name of a new file here. Hidden files are often settings that programs obey.
func plainName(s string) bool {
	return s != "" && len(s) <= 255 && s[0] != '.' && utf8.ValidString(s) && s == filepath.Base(s) &&
		!strings.ContainsFunc(s, func(r rune) bool { return r == '/' || r == '\\' || !unicode.IsPrint(r) })
}

// ShareRequest says what to share, with whom, and where the grant goes.
type ShareRequest struct {
	Ref    string   // a name in the catalogue, or a root
	To     []string // recipients, age1..., or files of them
	Output string   // must not exist; empty: the name, or the root, and ".grant" in the working folder
}

// ShareResult is a grant that was written.
type ShareResult struct {
	Root       string
	Output     string
	Recipients []string
}

// Share writes a grant for an encrypted file that this home can open: a small file, itself encrypted for the recipients, with which they
// get and open it. Nothing is uploaded. It can't be taken back.
func (c *Client) Share(ctx context.Context, req ShareRequest) (ShareResult, error) {
	e, root, err := c.resolve(req.Ref)
	if err != nil {
		return ShareResult{}, err
	}
	out := ShareResult{Root: root.String(), Output: req.Output}
	if e.Root != "" && !e.Encrypted {
		return out, &Error{Kind: KindUsage, What: e.Name + " was put without encryption", Hint: "whoever knows its root reads it: " + e.Root}
	}
	names, to, err := recipients(req.To)
	if err != nil {
		return out, err
	}
	if len(to) == 0 {
		return out, &Error{Kind: KindUsage, What: "nobody to share it with", Hint: "name a recipient: --to age1...; cella share --me prints one's own"}
	}
	out.Recipients = names
	if out.Output == "" {
		if out.Output = e.Name; out.Output == "" {
			out.Output = out.Root
		}
		out.Output += ".grant"
	}
	id, err := identity(c.keyPath())
	if err != nil {
		return out, err
	}
	header, err := c.ageHeader(ctx, root)
	if err != nil {
		return out, err
	}
	key, err := age.DecryptHeader(header, id)
	defer clear(key)
	if err != nil || len(key) != len(fileKey{}) {
		return out, &Error{Kind: KindLocal, What: "opening " + out.Root, Cause: err, Hint: "only who can open a file can share it: was it encrypted for the key in " + c.keyPath() + "?"}
	}
	g := grant{Chain: c.chain.ID, Root: root, Key: fileKey(key)}
	if plainName(e.Name) {
		g.Name = e.Name
	}
	sealed, err := g.seal(to)
	if err != nil {
		return out, wrap(KindLocal, "grant", err)
	}
	return out, writeNew(out.Output, sealed)
}

// seal encrypts a grant for its recipients, as text that survives a mail.
func (g grant) seal(to []age.Recipient) ([]byte, error) {
	var buf bytes.Buffer
	text := armor.NewWriter(&buf)
	w, err := age.Encrypt(text, to...)
	if err != nil {
		return nil, err
	}
	plain := g.marshal()
	defer clear(plain)
	if _, err := w.Write(plain); err != nil {
		return nil, err
	}
	err = errors.Join(w.Close(), text.Close())
	return buf.Bytes(), err
}

// ageHeader reads the beginning of an encrypted file from its holders: at most its first blocks.
func (c *Client) ageHeader(ctx context.Context, root cid.Cid) ([]byte, error) {
	at, err := c.holders(ctx, root)
	if err != nil {
		return nil, err
	}
	node, err := c.open(ctx, nil, nil, nil)
	if err != nil {
		return nil, err
	}
	defer node.Close()
	read, cancel := context.WithTimeout(ctx, shareStall)
	defer cancel()
	var header []byte
	r, err := content.Open(read, root, node.Session(read, at.from...))
	if err == nil {
		defer r.Close()
		header, err = age.ExtractHeader(io.LimitReader(r, maxAgeHeader))
	}
	switch {
	case err == nil:
		return header, nil
	case ctx.Err() != nil:
		return nil, stopped(ctx, err, "stopped before the grant was written", "run the same command again")
	case read.Err() != nil:
		return nil, &Error{Kind: KindUnavailable, What: "no holder sends " + root.String(), Cause: err, Hint: "cella stat shows its holders; try again later"}
	}
	return nil, &Error{Kind: KindUsage, What: root.String() + " is no encrypted file", Cause: err, Hint: "what was put without --encrypt is read by whoever knows its root"}
}

// writeNew writes a file that must not exist, for its owner's eyes.
func writeNew(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return &Error{Kind: KindUsage, What: path + " exists already", Hint: "name another place with -o"}
	}
	if err != nil {
		return wrap(KindLocal, "writing "+path, err)
	}
	_, err = f.Write(b)
	if e := f.Close(); err == nil {
		err = e
	}
	if err != nil {
		_ = os.Remove(path) // half a file would be in the way of the next attempt
	}
	return wrap(KindLocal, "writing "+path, err)
}

// opener decrypts a file that was fetched; hint is for when it doesn't.
type opener struct {
	age.Identity
	hint string
}

// wanted finds what a request is for, and what opens it: nil if it is not to be decrypted.
func (c *Client) wanted(req GetRequest) (Entry, cid.Cid, *opener, error) {
	if req.Grant != "" {
		g, err := c.openGrant(req.Grant)
		if err != nil {
			return Entry{}, cid.Undef, nil, err
		}
		return Entry{Name: g.Name}, g.Root, &opener{age.NewInjectedFileKeyIdentity(g.Key[:]), "the grant does not fit the file that it names; ask for another one"}, nil
	}
	e, root, err := c.resolve(req.Ref)
	if err != nil || req.CAR || !req.Decrypt && !e.Encrypted {
		return e, root, nil, err
	}
	id, err := identity(c.keyPath())
	return e, root, &opener{id, "is it encrypted, and for the key in " + c.keyPath() + "?"}, err
}

// openGrant reads a grant that somebody sent.
func (c *Client) openGrant(path string) (grant, error) {
	f, err := os.Open(path)
	if err != nil {
		return grant{}, &Error{Kind: KindUsage, What: "grant " + path, Cause: cause(err)}
	}
	defer f.Close()
	id, err := identity(c.keyPath())
	if err != nil {
		return grant{}, err
	}
	g, err := unsealGrant(io.LimitReader(f, maxGrantFile), id)
	var other *age.NoIdentityMatchError
	switch {
	case errors.As(err, &other):
		return grant{}, &Error{Kind: KindUsage, What: "grant " + path + " is for another key", Hint: "yours is " + id.Recipient().String() + "; ask for a grant to it"}
	case err != nil:
		return grant{}, &Error{Kind: KindUsage, What: "grant " + path, Cause: err, Hint: "did it arrive whole? cella share writes one"}
	case g.Chain != c.chain.ID:
		return grant{}, &Error{Kind: KindUsage, What: fmt.Sprintf("the grant is for chain %q, this is %q", g.Chain, c.chain.ID), Hint: "name a node of that chain with --node"}
	}
	return g, nil
}

// unsealGrant decrypts and reads a grant, armored or not.
func unsealGrant(in io.Reader, id age.Identity) (grant, error) {
	buf := bufio.NewReader(in)
	in = buf
	if head, _ := buf.Peek(len(armor.Header)); string(head) == armor.Header {
		in = armor.NewReader(buf)
	}
	r, err := age.Decrypt(in, id)
	if err != nil {
		return grant{}, err
	}
	text, err := io.ReadAll(io.LimitReader(r, maxGrant+1))
	defer clear(text)
	if err != nil {
		return grant{}, err
	}
	return parseGrant(text)
}
