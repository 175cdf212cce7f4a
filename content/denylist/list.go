// Package denylist reads deny lists in the compact format of IPFS (IPIP-383) and tells which blocks they deny. It keeps the rules that
// can be held against a block alone:
//
//	/ipfs/CID      the block with that multihash, whatever its codec and CID version
//	/ipfs/CID/*    the same; the blocks below it have no path and need rules of their own
//	//MULTIHASH    the block whose multihash, written in base58, has that hash (any function that is known)
//	//HEX          the block whose CIDv1 in base32 with a slash behind it, or whose base58 multihash, has that SHA-256
//
// each also with "!", "+" or "-" before it, which allows what a line above denied: the last line that matches a block decides. Rules of
// paths and of names mean nothing for blocks; they, and lines that are no rule at all, are counted and reported in List.Skipped and
// never passed over in silence.
package denylist

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/ipfs/go-cid"
	"github.com/multiformats/go-multibase"
	"github.com/multiformats/go-multihash"
	"go.yaml.in/yaml/v3"
)

const (
	maxHeader  = 1 << 20 // bytes; the format's own limit, as the next one
	maxLine    = 2 << 20
	maxText    = 256 // bytes of a CID or hash: reading base58 and base36 takes time with the square of them
	maxSchemes = 8   // hash functions of double hashes: each costs a hash for every block that is asked for
	maxShown   = 100 // skipped lines that are kept
)

// List is a parsed deny list. It never changes.
type List struct {
	Name        string // of the header, as the next two; they may be empty
	Description string
	Author      string

	Rules   int       // lines that are held against blocks
	Passed  int       // lines that are not; Skipped has the first hundred
	Skipped []Skipped // in the order of lines

	rules   map[key]rule
	schemes []scheme // of the modern double hashes
}

// Skipped is a line that denies and allows nothing here.
type Skipped struct {
	Line int // from 1
	Text string
	Why  string
}

// Rule is a line that decides about a block.
type Rule struct {
	Line  int // from 1
	Allow bool
}

// key is a hash of what a rule names: rules of every form take as little memory.
type key [sha256.Size]byte

// rule is a line number, doubled, and 1 if it allows.
type rule uint32

// scheme is a hash function and its length in bytes.
type scheme struct {
	code   uint64
	length int
}

const (
	plainRule  = 'p'
	hashedRule = 'h'
)

func keyOf(form byte, mh multihash.Multihash) key {
	return sha256.Sum256(append([]byte{form}, mh...))
}

// Parse reads a list. Its error means that there is no telling what the file wants: a header that is no YAML or of another version,
// or a line longer than the format allows.
func Parse(file []byte) (*List, error) {
	l := &List{rules: map[key]rule{}}
	body, line, err := l.header(file)
	if err != nil {
		return nil, err
	}
	for len(body) > 0 {
		text, rest, _ := bytes.Cut(body, []byte("\n"))
		body = rest
		line++
		if len(text) >= maxLine {
			return nil, fmt.Errorf("line %d has %d bytes, at most %d", line, len(text), maxLine-1)
		}
		fields := strings.Fields(string(text)) // behind the rule stand hints, of which none is known
		if len(fields) == 0 || strings.HasPrefix(fields[0], "#") {
			continue
		}
		var err error
		if !utf8.Valid(text) {
			err = errors.New("not UTF-8")
		} else {
			err = l.add(fields[0], line)
		}
		if err != nil {
			l.skip(line, string(text), err)
			continue
		}
		l.Rules++
	}
	return l, nil
}

// header reads what stands before a line of three dashes within the first MiB, and returns the rest and how many lines came before it.
func (l *List) header(file []byte) (body []byte, lines int, err error) {
	for at := 0; at < min(len(file), maxHeader); {
		end := bytes.IndexByte(file[at:], '\n')
		line := file[at:]
		if end >= 0 {
			line = file[at : at+end]
		}
		lines++
		if string(bytes.TrimRight(line, " \t\r")) == "---" {
			var h struct {
				Version                   int
				Name, Description, Author string
			}
			if err := yaml.Unmarshal(file[:at], &h); err != nil {
				return nil, 0, fmt.Errorf("header: %w", err)
			}
			if h.Version != 0 && h.Version != 1 {
				return nil, 0, fmt.Errorf("header: version %d of the format, want 1", h.Version)
			}
			l.Name, l.Description, l.Author = h.Name, h.Description, h.Author
			if end < 0 {
				return nil, lines, nil
			}
			return file[at+end+1:], lines, nil
		}
		if end < 0 {
			break
		}
		at += end + 1
	}
	return file, 0, nil
}

func (l *List) skip(line int, text string, why error) {
	l.Passed++
	if len(l.Skipped) < maxShown {
		text = strings.ToValidUTF8(text[:min(len(text), 200)], "\ufffd")
		l.Skipped = append(l.Skipped, Skipped{Line: line, Text: text, Why: why.Error()})
	}
}

var errTooLong = fmt.Errorf("longer than %d bytes, as no CID and no hash is", maxText)

// add takes up one rule; its error says why there is none.
func (l *List) add(text string, line int) error {
	r := rule(line) << 1
	if strings.ContainsRune("!+-", rune(text[0])) {
		text, r = text[1:], r|1
	}
	if hashed, ok := strings.CutPrefix(text, "//"); ok {
		return l.addHashed(hashed, r)
	}
	below, ok := strings.CutPrefix(text, "/ipfs/")
	if !ok {
		below, ok = strings.CutPrefix(text, "/ipld/")
	}
	switch {
	case strings.HasPrefix(text, "/ipns/"):
		return errors.New("a rule of names; blocks have none")
	case !ok:
		return errors.New("no rule: want /ipfs/CID or //HASH")
	}
	name, path, _ := strings.Cut(below, "/")
	if len(name) > maxText {
		return errTooLong
	}
	c, err := cid.Decode(name)
	if err != nil {
		return fmt.Errorf("no CID: %w", err)
	}
	if path = strings.Trim(path, "/"); path != "" && path != "*" {
		return errors.New("a rule of paths; blocks have none")
	}
	if harmless(c) {
		return errors.New("an empty file or folder, or content that stands in the CID itself, is never denied")
	}
	l.rules[keyOf(plainRule, c.Hash())] = r
	return nil
}

// addHashed takes up a rule that hides what it denies. A text that can be read both ways makes two rules.
func (l *List) addHashed(text string, r rule) error {
	if len(text) > maxText {
		return errTooLong
	}
	err := errors.New("no hash: want 64 hexadecimal digits or a multihash in base58")
	digest, e := hex.DecodeString(text)
	isHex := e == nil && len(digest) == sha256.Size
	if isHex {
		mh, e := multihash.Encode(digest, multihash.SHA2_256)
		if e == nil {
			e = l.learn(scheme{multihash.SHA2_256, sha256.Size})
		}
		if err = e; err == nil {
			l.rules[keyOf(hashedRule, mh)] = r
		}
	}
	mh, e := multihash.FromB58String(text)
	if e != nil {
		return err
	}
	d, e := multihash.Decode(mh)
	if e != nil || d.Code == multihash.IDENTITY {
		return err
	}
	if e := l.learn(scheme{d.Code, d.Length}); e != nil {
		if isHex {
			return err // hexadecimal digits that look like a hash of some other function by chance
		}
		return e
	}
	l.rules[keyOf(hashedRule, mh)] = r
	return nil
}

// learn makes Find compute a hash function.
func (l *List) learn(s scheme) error {
	for _, known := range l.schemes {
		if known == s {
			return nil
		}
	}
	if _, err := multihash.Sum(nil, s.code, s.length); err != nil {
		return fmt.Errorf("hash function %#x of %d bytes: %w", s.code, s.length, err)
	}
	if len(l.schemes) == maxSchemes {
		return fmt.Errorf("hash function %#x: a list may use %d of them", s.code, maxSchemes)
	}
	l.schemes = append(l.schemes, s)
	return nil
}

// Find returns the last line that matches a block, if any does.
func (l *List) Find(c cid.Cid) (Rule, bool) {
	if len(l.rules) == 0 || !c.Defined() || harmless(c) {
		return Rule{}, false
	}
	var last rule
	look := func(form byte, mh multihash.Multihash) { last = max(last, l.rules[keyOf(form, mh)]) }
	look(plainRule, c.Hash())
	if len(l.schemes) > 0 {
		plain := []byte(c.Hash().B58String())
		for _, s := range l.schemes {
			if mh, err := multihash.Sum(plain, s.code, s.length); err == nil {
				look(hashedRule, mh)
			}
		}
		if text, err := cid.NewCidV1(c.Type(), c.Hash()).StringOfBase(multibase.Base32); err == nil {
			if mh, err := multihash.Sum([]byte(text+"/"), multihash.SHA2_256, -1); err == nil {
				look(hashedRule, mh)
			}
		}
	}
	return Rule{Line: int(last >> 1), Allow: last&1 == 1}, last != 0
}

// harmless blocks are the same for everybody, and programs break that are refused them: empty files and folders. Inline content is in
// its CID and can't be refused.
func harmless(c cid.Cid) bool {
	if c.Prefix().MhType == multihash.IDENTITY {
		return true
	}
	return empty[string(c.Hash())]
}

// empty has the multihashes of the empty file and folder, and of what is empty in other codecs.
var empty = map[string]bool{
	sum(""):                         true,
	sum("\x0a\x04\x08\x02\x18\x00"): true, // UnixFS file
	sum("\x0a\x02\x08\x01"):         true, // UnixFS folder
	sum("\xa0"):                     true, // dag-cbor
	sum("{}"):                       true, // dag-json
}

func sum(block string) string {
	mh, err := multihash.Sum([]byte(block), multihash.SHA2_256, -1)
	if err != nil {
		panic(err) // SHA-256 is always there
	}
	return string(mh)
}

// Named is a list and where it comes from.
type Named struct {
	From string
	*List
}

// Set is several lists. The first that has a rule for a block decides, so that an operator's own list may allow what a later one denies.
type Set []Named

// Verdict is what a set says about a block.
type Verdict struct {
	From string // the list
	Rule
}

// Find returns the rule that decides about a block, if there is one.
func (s Set) Find(c cid.Cid) (Verdict, bool) {
	for _, l := range s {
		if r, ok := l.Find(c); ok {
			return Verdict{From: l.From, Rule: r}, true
		}
	}
	return Verdict{}, false
}

// Denies tells whether a set denies a block.
func (s Set) Denies(c cid.Cid) bool {
	v, ok := s.Find(c)
	return ok && !v.Allow
}
