package host

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/cella-network/cella/enclave/wire"
)

// peer is the other end of a stream, played by the test: it reads requests when it is told to.
type peer struct {
	t    *testing.T
	conn net.Conn
}

func newPair(t *testing.T) (*Enclave, *peer) {
	t.Helper()
	ours, file, err := socketpair()
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := net.FileConn(file)
	if err != nil {
		t.Fatal(err)
	}
	file.Close()
	e := newEnclave(ours, func() {})
	t.Cleanup(func() { e.Close(); theirs.Close() })
	_ = theirs.SetDeadline(time.Now().Add(20 * time.Second))
	return e, &peer{t, theirs}
}

func (p *peer) read() wire.Frame {
	p.t.Helper()
	f, err := wire.ReadFrame(p.conn, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	return f
}

func (p *peer) reply(id uint64, kind wire.Kind, m wire.Message) {
	p.t.Helper()
	packet, err := wire.NewPacket(id, kind, m)
	if err == nil {
		_, err = packet.WriteTo(p.conn)
	}
	if err != nil {
		p.t.Fatal(err)
	}
}

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// While the bulk window is full and more bulk requests wait, a short request is written and answered.
func TestShortOvertakesBulk(t *testing.T) {
	e, p := newPair(t)
	ctx := testContext(t)
	const bulk = 3 * window
	var done sync.WaitGroup
	for i := range bulk {
		done.Go(func() {
			var r wire.SealReply
			if err := e.Call(ctx, &wire.Seal{Sector: uint32(i), Data: make([]byte, 1<<20)}, &r); err != nil {
				t.Error(err)
			}
		})
	}
	var open []uint64
	for range window { // the enclave reads as many as the window lets through, and answers none
		f := p.read()
		if f.Kind != wire.KindSeal {
			t.Fatalf("kind %d, want Seal", f.Kind)
		}
		open = append(open, f.ID)
	}
	status := make(chan error, 1)
	go func() { status <- e.Call(ctx, &wire.Status{}, new(wire.StatusReply)) }()
	f := p.read() // the next frame is the short one: the window lets no ninth bulk request out
	if f.Kind != wire.KindStatus {
		t.Fatalf("kind %d came before the short request", f.Kind)
	}
	p.reply(f.ID, f.Kind.Reply(), &wire.StatusReply{Height: 5})
	if err := <-status; err != nil {
		t.Fatal(err)
	}
	for answered := 0; answered < bulk; answered++ {
		if len(open) == 0 {
			open = append(open, p.read().ID)
		}
		p.reply(open[0], wire.KindSeal.Reply(), &wire.SealReply{})
		open = open[1:]
	}
	done.Wait()
}

// Even with the window open, a short request has at most one bulk frame ahead of it that has not begun to be written.
func TestOneBulkInLineForThePen(t *testing.T) {
	e, p := newPair(t)
	ctx := testContext(t)
	e.pen <- struct{}{} // a frame is being written
	for range window {
		go func() { _ = e.Call(ctx, &wire.Seal{Data: make([]byte, 1<<20)}, new(wire.SealReply)) }()
	}
	for len(e.bulk) < window || len(e.bulkTurn) < 1 {
		if ctx.Err() != nil {
			t.Fatal("the bulk requests did not get in line")
		}
		time.Sleep(time.Millisecond)
	}
	go func() { _ = e.Call(ctx, &wire.Status{}, new(wire.StatusReply)) }()
	go func() { _ = e.Call(ctx, &wire.Status{}, new(wire.StatusReply)) }()
	for { // both short requests have their numbers, so they stand in line or are about to
		e.mu.Lock()
		n := e.next
		e.mu.Unlock()
		if n == window+2 {
			break
		}
		if ctx.Err() != nil {
			t.Fatal("the short requests did not start")
		}
		time.Sleep(time.Millisecond)
	}
	<-e.pen
	var kinds []wire.Kind
	for range window + 2 {
		kinds = append(kinds, p.read().Kind)
	}
	// At worst: the one bulk request in line, and one more that took its turn while a short one was being scheduled.
	ahead := 0
	for _, k := range kinds {
		if k == wire.KindStatus {
			break
		}
		ahead++
	}
	if ahead > 3 {
		t.Errorf("%d bulk requests went ahead of the first short one: %v", ahead, kinds)
	}
}

func TestRefusal(t *testing.T) {
	e, p := newPair(t)
	go func() {
		f := p.read()
		p.reply(f.ID, wire.KindError, &wire.Error{Code: wire.CodeFull, Message: "no room"})
	}()
	err := e.Call(testContext(t), &wire.Open{}, new(wire.OpenReply))
	var refusal *wire.Error
	if !errors.As(err, &refusal) || refusal.Code != wire.CodeFull || refusal.Message != "no room" {
		t.Fatalf("got %v", err)
	}
}

func TestReplyOfAnotherKind(t *testing.T) {
	e, p := newPair(t)
	go func() { p.reply(p.read().ID, wire.KindDraw.Reply(), &wire.DrawReply{}) }()
	if err := e.Call(testContext(t), &wire.Open{}, new(wire.OpenReply)); !errors.Is(err, wire.ErrMalformed) {
		t.Fatalf("got %v", err)
	}
}

// A caller that gives up frees nothing that the enclave still works on, and the late reply disturbs nobody.
func TestCancel(t *testing.T) {
	e, p := newPair(t)
	ctx, cancel := context.WithCancel(testContext(t))
	failed := make(chan error, 1)
	go func() { failed <- e.Call(ctx, &wire.Read{CID: []byte{1}}, new(wire.ReadReply)) }()
	first := p.read()
	cancel()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	if len(e.bulk) != 1 {
		t.Errorf("%d bulk requests in flight, want 1: the enclave has not answered", len(e.bulk))
	}
	p.reply(first.ID, first.Kind.Reply(), &wire.ReadReply{Data: []byte("late")})
	go func() {
		f := p.read()
		p.reply(f.ID, f.Kind.Reply(), &wire.ReadReply{Data: []byte("own")})
	}()
	var r wire.ReadReply
	if err := e.Call(testContext(t), &wire.Read{CID: []byte{2}}, &r); err != nil || !bytes.Equal(r.Data, []byte("own")) {
		t.Fatal(r, err)
	}
	if err := e.Call(ctx, &wire.Read{}, &r); !errors.Is(err, context.Canceled) {
		t.Errorf("with an ended context: %v", err)
	}
}

// A reply lies in the caller's memory where it has room, its cells on a page.
func TestInto(t *testing.T) {
	e, p := newPair(t)
	cells := bytes.Repeat([]byte("cell"), 1<<18)
	ask := func(buf []byte) wire.SealReply {
		t.Helper()
		go func() {
			f := p.read()
			p.reply(f.ID, f.Kind.Reply(), &wire.SealReply{Cell: 7, Cells: cells, Tags: []byte("tags"), Record: []byte("record")})
		}()
		var r wire.SealReply
		if err := e.Call(testContext(t), &wire.Seal{}, wire.Into{Message: &r, Buf: buf}); err != nil {
			t.Fatal(err)
		}
		if r.Cell != 7 || !bytes.Equal(r.Cells, cells) || string(r.Tags) != "tags" || string(r.Record) != "record" {
			t.Fatal("another reply came")
		}
		return r
	}
	address := func(p []byte) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(p))) }
	for _, skip := range []int{0, 1, 17, 4079, 4095} {
		buf := make([]byte, wire.IntoSize+skip)[skip:]
		at := address(ask(buf).Cells)
		if at < address(buf) || at+uintptr(len(cells)) > address(buf)+uintptr(len(buf)) {
			t.Errorf("%d bytes on: not in the caller's memory", skip)
		}
		if at%page != 0 {
			t.Errorf("%d bytes on: cells begin %d bytes behind a page", skip, at%page)
		}
	}
	tight := make([]byte, len(cells)+100)
	if at := address(ask(tight).Cells); at < address(tight) || at >= address(tight)+uintptr(len(tight)) {
		t.Error("not in the caller's memory although it has just room")
	}
	short := make([]byte, 64)
	ask(short)
	if !bytes.Equal(short, make([]byte, 64)) {
		t.Error("memory without room was written to")
	}
	ask(nil)
	go func() {
		f := p.read()
		p.reply(f.ID, wire.KindError, &wire.Error{Code: wire.CodeFull, Message: "no room"})
	}()
	var refusal *wire.Error
	if err := e.Call(testContext(t), &wire.Seal{}, wire.Into{Message: new(wire.SealReply), Buf: short}); !errors.As(err, &refusal) || refusal.Message != "no room" {
		t.Errorf("a refusal came as %v", err)
	}
}

// Nobody writes into a caller's memory once its call has returned, whenever the caller gives up.
func TestIntoIsLeftAlone(t *testing.T) {
	cells := bytes.Repeat([]byte{0xce}, 1<<20)
	t.Run("before the reply", func(t *testing.T) {
		e, p := newPair(t)
		ctx, cancel := context.WithCancel(testContext(t))
		buf := make([]byte, wire.IntoSize)
		failed := make(chan error, 1)
		go func() { failed <- e.Call(ctx, &wire.Seal{}, wire.Into{Message: new(wire.SealReply), Buf: buf}) }()
		f := p.read()
		cancel()
		if err := <-failed; !errors.Is(err, context.Canceled) {
			t.Fatalf("got %v", err)
		}
		p.reply(f.ID, f.Kind.Reply(), &wire.SealReply{Cells: cells})
		go func() {
			f := p.read()
			p.reply(f.ID, f.Kind.Reply(), &wire.StatusReply{})
		}()
		if err := e.Call(testContext(t), &wire.Status{}, new(wire.StatusReply)); err != nil { // the late reply has been read
			t.Fatal(err)
		}
		if !bytes.Equal(buf, make([]byte, len(buf))) {
			t.Error("the late reply was written there")
		}
	})
	for name, rest := range map[string]func(*peer, []byte){
		"amid the reply":               func(p *peer, rest []byte) { _, _ = p.conn.Write(rest) },
		"amid a reply that never ends": func(p *peer, _ []byte) { p.conn.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			e, p := newPair(t)
			ctx, cancel := context.WithCancel(testContext(t))
			buf := make([]byte, wire.IntoSize)
			failed := make(chan error, 1)
			go func() { failed <- e.Call(ctx, &wire.Seal{}, wire.Into{Message: new(wire.SealReply), Buf: buf}) }()
			f := p.read()
			var frame bytes.Buffer
			packet, err := wire.NewPacket(f.ID, f.Kind.Reply(), &wire.SealReply{Cells: cells})
			if err != nil {
				t.Fatal(err)
			}
			_, _ = packet.WriteTo(&frame)
			if _, err := p.conn.Write(frame.Next(100)); err != nil {
				t.Fatal(err)
			}
			for open := true; open; time.Sleep(time.Millisecond) { // until the reader has begun with it
				e.mu.Lock()
				_, open = e.pending[f.ID]
				e.mu.Unlock()
				if ctx.Err() != nil {
					t.Fatal("the reply was not begun")
				}
			}
			cancel()
			select {
			case err := <-failed:
				t.Fatalf("the call returned while its memory was being written to: %v", err)
			case <-time.After(20 * time.Millisecond):
			}
			rest(p, frame.Bytes())
			if err := <-failed; !errors.Is(err, context.Canceled) && !errors.Is(err, ErrEnded) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestEnd(t *testing.T) {
	for name, end := range map[string]func(*Enclave, *peer){
		"child closes":       func(_ *Enclave, p *peer) { p.conn.Close() },
		"host closes":        func(e *Enclave, _ *peer) { e.Close() },
		"child is nonsense":  func(_ *Enclave, p *peer) { _, _ = p.conn.Write(bytes.Repeat([]byte{0xff}, 64)) },
		"reply to no one":    func(_ *Enclave, p *peer) { p.reply(99, wire.KindStatus.Reply(), &wire.StatusReply{}) },
		"frame is cut short": func(_ *Enclave, p *peer) { _, _ = p.conn.Write([]byte{0, 0, 0}); p.conn.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			e, p := newPair(t)
			ctx := testContext(t)
			waiting := make(chan error, 2)
			go func() { waiting <- e.Call(ctx, &wire.Status{}, new(wire.StatusReply)) }()
			go func() { waiting <- e.Call(ctx, &wire.Seal{}, new(wire.SealReply)) }()
			p.read()
			p.read()
			end(e, p)
			select {
			case <-e.Done():
			case <-ctx.Done():
				t.Fatal("the end was not noticed")
			}
			for range 2 {
				if err := <-waiting; !errors.Is(err, ErrEnded) {
					t.Errorf("a waiting call got %v", err)
				}
			}
			if err := e.Call(ctx, &wire.Status{}, new(wire.StatusReply)); !errors.Is(err, ErrEnded) {
				t.Errorf("a later call got %v", err)
			}
		})
	}
}

func TestRequestAboveALimit(t *testing.T) {
	e, p := newPair(t)
	if err := e.Call(testContext(t), &wire.Seal{Data: make([]byte, 1<<20+1)}, new(wire.SealReply)); !errors.Is(err, wire.ErrMalformed) {
		t.Fatalf("got %v", err)
	}
	if len(e.bulk) != 0 {
		t.Error("the window lost a place")
	}
	go func() {
		f := p.read()
		p.reply(f.ID, f.Kind.Reply(), &wire.StatusReply{})
	}()
	if err := e.Call(testContext(t), &wire.Status{}, new(wire.StatusReply)); err != nil {
		t.Error("nothing was to be written of the request that is too long:", err)
	}
}

func TestLogLines(t *testing.T) {
	r, w := io.Pipe()
	go func() {
		_, _ = w.Write(append(append([]byte("first\n"), bytes.Repeat([]byte("x"), 10_000)...), "\nlast"...))
		w.Close()
	}()
	var lines []string
	logLines(r, func(l string) { lines = append(lines, l) })
	if len(lines) != 3 || lines[0] != "first" || len(lines[1]) != 4096 || lines[2] != "last" {
		t.Errorf("%d lines: %.20q", len(lines), lines)
	}
}
