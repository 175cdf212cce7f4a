package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
)

// messages are all bodies, each once.
func messages() []Message {
	all := []Message{
		new(InitReply), new(FollowReply), new(HistoryReply), new(SeedsReply), new(StatusReply), new(RegisterReply), new(ChallengeReply), new(AnswerReply),
		new(EndorseReply), new(ConfirmReply), new(FillReply), new(OpenReply), new(SealReply), new(ReadReply), new(CompleteReply),
		new(DrawReply), new(AuditReply), new(AuditEndReply), new(ReportReply), new(AcceptedReply), new(RestoreSectorReply), new(RestoreEndReply), new(LoseReply), new(Empty), new(Error),
		new(FeedReply), new(ActReply), new(SettleReply), new(SignReply),
	}
	for k := range Kind(128) {
		if req := NewRequest(k); req != nil {
			all = append(all, req)
		}
	}
	return all
}

// fill gives every field a value that is not its zero, so that a field missing in a fields method shows.
func fill(v reflect.Value, r *rand.Rand) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(v.Field(i), r)
		}
	case reflect.Array:
		for i := range v.Len() {
			fill(v.Index(i), r)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 1+r.IntN(3), 3))
		for i := range v.Len() {
			fill(v.Index(i), r)
		}
	case reflect.String:
		v.SetString(strings.Repeat("x", 1+r.IntN(9)))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int64:
		v.SetInt(1 + r.Int64N(1<<62))
	default:
		v.SetUint(1 + uint64(r.IntN(255)))
	}
}

func filled(m Message, seed uint64) Message {
	fill(reflect.ValueOf(m).Elem(), rand.New(rand.NewPCG(seed, 1)))
	return m
}

func TestEveryFieldTravels(t *testing.T) {
	for _, m := range messages() {
		filled(m, 7)
		body, err := Append(nil, m)
		if err != nil {
			t.Fatal(err)
		}
		got := reflect.New(reflect.TypeOf(m).Elem()).Interface().(Message)
		if err := Decode(got, body); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, m) {
			t.Errorf("%T: sent %+v, got %+v", m, m, got)
		}
		for n := range body {
			if err := Decode(got, body[:n]); !errors.Is(err, ErrMalformed) {
				t.Fatalf("%T cut to %d of %d bytes: %v", m, n, len(body), err)
			}
		}
		if err := Decode(got, append(body, 0)); !errors.Is(err, ErrMalformed) {
			t.Errorf("%T with a trailing byte: %v", m, err)
		}
	}
}

func TestKinds(t *testing.T) {
	seen := map[Kind]bool{}
	for k := range Kind(128) {
		req := NewRequest(k)
		if req == nil {
			continue
		}
		if req.Kind() != k {
			t.Errorf("NewRequest(%d) is of kind %d", k, req.Kind())
		}
		seen[k] = true
	}
	if len(seen) != 36 {
		t.Errorf("%d kinds of request, want 36", len(seen))
	}
	if NewRequest(KindError) != nil || NewRequest(KindInit.Reply()) != nil || NewRequest(0) != nil {
		t.Error("a kind that no host sends has a request")
	}
}

// A host lays a reply so that its cells begin on a page.
func TestCellsAt(t *testing.T) {
	cells := bytes.Repeat([]byte{0xce}, maxCells)
	for k, m := range map[Kind]Message{
		KindSeal: &SealReply{Cells: cells, Tags: make([]byte, maxTags), Record: make([]byte, 100)},
		KindMove: &SealReply{Cells: cells, Tags: make([]byte, maxTags), Record: make([]byte, 100)},
		KindFill: &FillReply{Cells: cells, Digests: make([]byte, maxDigests), Entry: make([]byte, maxRow)},
	} {
		body, err := Append(nil, m)
		if err != nil {
			t.Fatal(err)
		}
		if at := k.Reply().CellsAt(); !bytes.Equal(body[at:at+len(cells)], cells) {
			t.Errorf("kind %d: the cells do not begin at %d", k, at)
		}
		if len(body)+4096 > IntoSize {
			t.Errorf("kind %d: %d bytes of body do not fit", k, len(body))
		}
	}
	for k := range Kind(128) {
		if k != KindSeal && k != KindMove && k != KindFill && k.Reply().CellsAt() != 0 {
			t.Errorf("kind %d has cells at %d", k, k.Reply().CellsAt())
		}
	}
}

func TestLimits(t *testing.T) {
	for name, m := range map[string]Message{
		"chain id":        &Init{ChainID: strings.Repeat("c", maxChainID+1)},
		"negative height": &Draw{Height: -1},
		"height":          &FollowReply{Height: 1<<62 + 1},
		"cells":           &SealReply{Cells: make([]byte, maxCells+1)},
		"list":            &Release{Sectors: make([]uint32, maxCount+1)},
		"CID":             &Lose{CIDs: [][]byte{make([]byte, maxCID+1)}},
		"text":            &Error{Message: strings.Repeat("e", maxText+1)},
	} {
		if _, err := Append(nil, m); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s above its limit was encoded: %v", name, err)
		}
	}
	for name, tc := range map[string]struct {
		m    Message
		body []byte
	}{
		"bool of 2":                 {new(DrawReply), []byte{2}},
		"height with the top bit":   {new(HistoryReply), binary.BigEndian.AppendUint64(nil, 1<<63)},
		"claimed list":              {new(Release), []byte{0x00, 0x03, 0xff, 0xff}},
		"claimed CIDs":              {new(Lose), []byte{0, 0, 0, 1, 0x00, 0x04, 0x00, 0x00}},
		"CIDs above the limit":      {new(Lose), []byte{0, 0, 0, 1, 0x00, 0x04, 0x00, 0x01}},
		"claimed bytes":             {new(ReadReply), []byte{0xff, 0xff, 0xff, 0xff, 1}},
		"bytes above the limit":     {new(OpenReply), append([]byte{0, 0, 0x10, 1}, make([]byte, 4097)...)},
		"list of lists, second cut": {new(History), []byte{0, 0, 0, 2, 0, 0, 0, 1, 9, 0, 0, 0, 1}},
	} {
		if err := Decode(tc.m, tc.body); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s was decoded: %v", name, err)
		}
	}
}

// A claimed count must not make the decoder allocate for elements that can't be there.
func TestClaimedLengthsDoNotAllocate(t *testing.T) {
	body := binary.BigEndian.AppendUint32(nil, maxCount)
	if n := testing.AllocsPerRun(10, func() { _ = Decode(new(Drop), body) }); n > 16 {
		t.Errorf("%v allocations for a claimed list", n)
	}
	var m Drop
	_ = Decode(&m, body)
	if m.Orders != nil {
		t.Error("a list was made for elements that are not there")
	}
}

func TestPacket(t *testing.T) {
	m := &SealReply{Sector: 3, Cells: bytes.Repeat([]byte{1}, 1<<20), Tags: bytes.Repeat([]byte{2}, 4096), Record: bytes.Repeat([]byte{3}, 20<<10)}
	p, err := NewPacket(9, KindSeal.Reply(), m)
	if err != nil {
		t.Fatal(err)
	}
	if &p.c.refs[0].p[0] != &m.Cells[0] || len(p.c.refs) != 2 {
		t.Error("bulk was copied")
	}
	var b bytes.Buffer
	if _, err := p.WriteTo(&b); err != nil {
		t.Fatal(err)
	}
	if got := binary.BigEndian.Uint32(b.Bytes()); int(got) != b.Len()-4 {
		t.Errorf("length %d of %d bytes written", got, b.Len())
	}
	f, err := ReadFrame(&b, nil)
	if err != nil || f.ID != 9 || f.Kind != KindSeal.Reply() {
		t.Fatal(f.ID, f.Kind, err)
	}
	want, _ := Append(nil, m)
	if !bytes.Equal(f.Body, want) {
		t.Error("the packet's body is not the message's encoding")
	}
	if _, err := ReadFrame(&b, nil); !errors.Is(err, io.EOF) {
		t.Errorf("end of the stream: %v", err)
	}
	if _, err := NewPacket(1, KindInit, &Init{Commit: make([]byte, MaxBody), Header: make([]byte, 1)}); !errors.Is(err, ErrMalformed) {
		t.Errorf("a body above the limit: %v", err)
	}
}

func TestReadFrameRefusals(t *testing.T) {
	head := func(n uint32) []byte { return append(binary.BigEndian.AppendUint32(nil, n), make([]byte, 10)...) }
	alloc := func(Frame, int) []byte { t.Error("memory was asked for"); return make([]byte, MaxBody) }
	for _, n := range []uint32{0, 9, MaxBody + 11, 1<<32 - 1} {
		if _, err := ReadFrame(bytes.NewReader(head(n)), alloc); !errors.Is(err, ErrMalformed) {
			t.Errorf("length %d: %v", n, err)
		}
	}
	for _, cut := range [][]byte{head(10)[:5], head(11), append(head(12), 1)} {
		if _, err := ReadFrame(bytes.NewReader(cut), nil); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("cut frame: %v", err)
		}
	}
}

func FuzzFrame(f *testing.F) {
	for i, m := range []Message{new(Status), filled(new(Seal), 1), filled(new(Error), 2)} {
		p, err := NewPacket(uint64(i), Kind(i), m)
		if err != nil {
			f.Fatal(err)
		}
		var b bytes.Buffer
		_, _ = p.WriteTo(&b)
		f.Add(b.Bytes())
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		fr, err := ReadFrame(bytes.NewReader(in), nil)
		if err != nil {
			return
		}
		out := binary.BigEndian.AppendUint32(nil, uint32(len(fr.Body)+10))
		out = binary.BigEndian.AppendUint64(out, fr.ID)
		out = append(binary.BigEndian.AppendUint16(out, uint16(fr.Kind)), fr.Body...)
		if !bytes.HasPrefix(in, out) {
			t.Error("the frame is not what was read")
		}
	})
}

func FuzzMessages(f *testing.F) {
	all := messages()
	for i, m := range all {
		for _, m := range []Message{m, filled(reflect.New(reflect.TypeOf(m).Elem()).Interface().(Message), uint64(i))} {
			body, err := Append(nil, m)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(uint8(i), body)
		}
	}
	f.Fuzz(func(t *testing.T, which uint8, body []byte) {
		m := reflect.New(reflect.TypeOf(all[int(which)%len(all)]).Elem()).Interface().(Message)
		if err := Decode(m, body); err != nil {
			if !errors.Is(err, ErrMalformed) {
				t.Error(err)
			}
			return
		}
		again, err := Append(nil, m)
		if err != nil || !bytes.Equal(again, body) {
			t.Errorf("%T: %x decodes but encodes as %x, %v", m, body, again, err)
		}
	})
}

func BenchmarkSealReply(b *testing.B) {
	m := &SealReply{Cells: make([]byte, 1<<20), Tags: make([]byte, 4096), Record: make([]byte, 64)}
	buf := make([]byte, MaxBody)
	b.SetBytes(1 << 20)
	var w bytes.Buffer
	for b.Loop() {
		w.Reset()
		p, _ := NewPacket(1, KindSeal.Reply(), m)
		_, _ = p.WriteTo(&w)
		f, _ := ReadFrame(&w, func(Frame, int) []byte { return buf })
		_ = Decode(new(SealReply), f.Body)
	}
}
