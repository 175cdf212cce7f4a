package threshold

import (
	"errors"
	"testing"
)

// Nothing that happened can be left out of a transcript, added to it or moved.
func TestTranscriptTellsHistoriesApart(t *testing.T) {
	a, b := [20]byte{1}, [20]byte{2}
	start := Setup{ID: ID{ChainID: "c", Purpose: "beacon", Epoch: 1}, Seats: []Seat{{a, 1}}, Threshold: 1}.Transcript()
	other := Setup{ID: ID{ChainID: "c", Purpose: "beacon", Epoch: 1, Attempt: 1}, Seats: []Seat{{a, 1}}, Threshold: 1}.Transcript()
	histories := map[string]Transcript{
		"nothing":                   start,
		"nothing, another ceremony": other,
		"x of a":                    start.Accepted(a, []byte("x")),
		"x of b":                    start.Accepted(b, []byte("x")),
		"y of a":                    start.Accepted(a, []byte("y")),
		"x of a twice":              start.Accepted(a, []byte("x")).Accepted(a, []byte("x")),
		"x of a, then y":            start.Accepted(a, []byte("x")).Accepted(a, []byte("y")),
		"y of a, then x":            start.Accepted(a, []byte("y")).Accepted(a, []byte("x")),
		"end":                       start.Advanced(),
		"x of a, end":               start.Accepted(a, []byte("x")).Advanced(),
		"end, x of a":               start.Advanced().Accepted(a, []byte("x")),
		"empty message of a":        start.Accepted(a, nil),
		"nobody's empty message":    start.Accepted([20]byte{}, nil),
	}
	seen := map[Transcript]string{}
	for name, tr := range histories {
		if twin, ok := seen[tr]; ok {
			t.Errorf("%q and %q have one transcript", name, twin)
		}
		seen[tr] = name
		if back, err := UnmarshalTranscript(tr.Marshal()); err != nil || back != tr {
			t.Errorf("%s: %v, %v", name, back, err)
		}
	}
}

func TestRecordsHaveOneEncoding(t *testing.T) {
	c := Charge{Epoch: 7, From: 1 << 40, Group: [32]byte{3}, Confirmed: true}
	good := c.Marshal()
	if back, err := UnmarshalCharge(good); err != nil || back != c {
		t.Errorf("%v, %v", back, err)
	}
	flag := append([]byte(nil), good...)
	flag[len(flag)-1] = 2
	far := append([]byte(nil), good...)
	far[8] = 0x80 // a height below zero
	for name, p := range map[string][]byte{"nothing": nil, "cut": good[:len(good)-1], "longer": append(good[:len(good):len(good)], 0), "flag": flag, "height": far} {
		if _, err := UnmarshalCharge(p); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := UnmarshalTranscript(p); !errors.Is(err, ErrMalformed) {
			t.Errorf("transcript %s: %v", name, err)
		}
	}
}

func TestPostStatementIsOfOneAccountAndChain(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range [][]byte{
		PostStatement("c", [20]byte{1}, []byte("m")), PostStatement("d", [20]byte{1}, []byte("m")),
		PostStatement("c", [20]byte{2}, []byte("m")), PostStatement("c", [20]byte{1}, []byte("n")),
	} {
		if seen[string(s)] {
			t.Errorf("two statements are the same: %x", s)
		}
		seen[string(s)] = true
	}
}
