package beacon

import (
	"bytes"
	"reflect"
	"slices"
	"testing"

	"github.com/cella-network/cella/protocol/threshold"
)

func extension() Extension {
	return Extension{Epoch: 3, Partials: []Partial{{Height: 5, Points: bytes.Repeat([]byte{1}, 96)}, {Height: 6, Points: bytes.Repeat([]byte{2}, 96)},
		{Height: 9, Points: bytes.Repeat([]byte{3}, 96)}}}
}

func carried() Carried {
	return Carried{{Height: 5, Signature: threshold.Signature{1}}, {Height: 6, Signature: threshold.Signature{2}}, {Height: 9, Signature: threshold.Signature{3}}}
}

// One encoding of each, and nothing else is read.
func TestCodecs(t *testing.T) {
	e, c := extension().Marshal(), carried().Marshal()
	if got, err := UnmarshalExtension(e); err != nil || !reflect.DeepEqual(got, extension()) {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := UnmarshalCarried(c); err != nil || !reflect.DeepEqual(got, carried()) {
		t.Errorf("%+v, %v", got, err)
	}
	with := func(change func(*Extension)) []byte {
		e := extension()
		change(&e)
		return e.Marshal()
	}
	numbers := func(change func(Carried) Carried) []byte { return change(carried()).Marshal() }
	for name, p := range map[string][]byte{
		"empty":             nil,
		"other version":     append([]byte{2}, e[1:]...),
		"cut":               e[:len(e)-1],
		"more behind":       append(slices.Clone(e), 0),
		"no partials":       with(func(e *Extension) { e.Partials = nil }),
		"four partials":     with(func(e *Extension) { e.Partials = append(e.Partials, Partial{10, []byte{1}}) }),
		"same height twice": with(func(e *Extension) { e.Partials[1].Height = 5 }),
		"descending":        with(func(e *Extension) { e.Partials[1].Height = 4 }),
		"height 0":          with(func(e *Extension) { e.Partials[0].Height = 0 }),
		"negative height":   with(func(e *Extension) { e.Partials[2].Height = -1 }),
		"no points":         with(func(e *Extension) { e.Partials[0].Points = nil }),
		"too many points":   with(func(e *Extension) { e.Partials[0].Points = make([]byte, maxPartial+1) }),
	} {
		if _, err := UnmarshalExtension(p); err == nil {
			t.Errorf("extension: %s is read", name)
		}
	}
	for name, p := range map[string][]byte{
		"empty":             nil,
		"other magic":       append([]byte{1}, c[1:]...),
		"cut":               c[:len(c)-1],
		"more behind":       append(slices.Clone(c), 0),
		"none":              numbers(func(Carried) Carried { return nil }),
		"five":              numbers(func(c Carried) Carried { return append(c, Number{Height: 10}, Number{Height: 11}) }),
		"same height twice": numbers(func(c Carried) Carried { c[1].Height = 5; return c }),
		"descending":        numbers(func(c Carried) Carried { c[1].Height = 4; return c }),
		"height 0":          numbers(func(c Carried) Carried { c[0].Height = 0; return c }),
		"negative height":   numbers(func(c Carried) Carried { c[2].Height = -1; return c }),
	} {
		if _, err := UnmarshalCarried(p); err == nil {
			t.Errorf("carried: %s is read", name)
		}
	}
	if len(numbers(func(c Carried) Carried { return append(c, Number{Height: 10}) })) == 0 {
		t.Error("four are not written")
	}
}

func FuzzExtension(f *testing.F) {
	f.Add(extension().Marshal())
	f.Add(Extension{Partials: []Partial{{Height: 1, Points: []byte{0}}}}.Marshal())
	f.Fuzz(func(t *testing.T, p []byte) {
		e, err := UnmarshalExtension(p)
		if err == nil && !bytes.Equal(e.Marshal(), p) {
			t.Errorf("%x is read, but written as %x", p, e.Marshal())
		}
	})
}

func FuzzCarried(f *testing.F) {
	f.Add(carried().Marshal())
	f.Add(carried()[:1].Marshal())
	f.Fuzz(func(t *testing.T, p []byte) {
		c, err := UnmarshalCarried(p)
		if err == nil && !bytes.Equal(c.Marshal(), p) {
			t.Errorf("%x is read, but written as %x", p, c.Marshal())
		}
	})
}
