package enclave

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"net"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cella-network/cella/enclave/vault"
	"github.com/cella-network/cella/enclave/wire"
	"github.com/cella-network/cella/protocol/storageproof"
)

// lanes runs a loop over a pipe and returns the host's end of it and what run returned.
func lanes(t *testing.T, h handler) (net.Conn, <-chan error) {
	t.Helper()
	ours, theirs := net.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := newLoop(ours, 8, h).run()
		ours.Close()
		ended <- err
	}()
	_ = theirs.SetDeadline(time.Now().Add(20 * time.Second))
	t.Cleanup(func() { theirs.Close() })
	return theirs, ended
}

func send(t *testing.T, w io.Writer, id uint64, m wire.Request) {
	t.Helper()
	p, err := wire.NewPacket(id, m.Kind(), m)
	if err == nil {
		_, err = p.WriteTo(w)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func receive(t *testing.T, r io.Reader) wire.Frame {
	t.Helper()
	f, err := wire.ReadFrame(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// With every bulk worker busy and more bulk requests waiting, a short request is answered.
func TestShortRequestsHaveTheirOwnLane(t *testing.T) {
	gate := make(chan struct{})
	var sealing, sealed atomic.Int32
	conn, ended := lanes(t, func(req wire.Request, work []byte) (wire.Message, error) {
		if req.Kind() == wire.KindSeal {
			if len(work) != 8 {
				t.Errorf("a bulk request got %d bytes to work in", len(work))
			}
			sealing.Add(1)
			<-gate
			sealed.Add(1)
			return &wire.SealReply{}, nil
		}
		return &wire.StatusReply{}, nil
	})
	bulk := runtime.GOMAXPROCS(0) + bulkQueue
	for i := range bulk {
		send(t, conn, uint64(i+1), &wire.Seal{})
	}
	for i := range 3 {
		send(t, conn, uint64(1000+i), &wire.Status{})
		if f := receive(t, conn); f.ID != uint64(1000+i) || f.Kind != wire.KindStatus.Reply() {
			t.Fatalf("reply %d of kind %d", f.ID, f.Kind)
		}
	}
	if n := sealed.Load(); n != 0 {
		t.Errorf("%d bulk requests were done before the short ones", n)
	}
	if n := int(sealing.Load()); n > runtime.GOMAXPROCS(0) {
		t.Errorf("%d bulk requests at once, with %d workers", n, runtime.GOMAXPROCS(0))
	}
	close(gate)
	for range bulk {
		if f := receive(t, conn); f.Kind != wire.KindSeal.Reply() {
			t.Fatalf("kind %d", f.Kind)
		}
	}
	conn.Close()
	if err := <-ended; err != nil {
		t.Errorf("the end of the stream: %v", err)
	}
}

// A short reply goes ahead of all bulk replies that wait to be written.
func TestShortRepliesOvertake(t *testing.T) {
	ours, theirs := net.Pipe()
	defer theirs.Close()
	_ = theirs.SetDeadline(time.Now().Add(20 * time.Second))
	var sealed atomic.Int32
	l := newLoop(ours, 8, func(req wire.Request, _ []byte) (wire.Message, error) {
		if req.Kind() == wire.KindSeal {
			sealed.Add(1)
			return &wire.SealReply{}, nil
		}
		return &wire.StatusReply{}, nil
	})
	l.pen.take(false) // a frame is being written
	go func() { _ = l.run() }()
	workers := runtime.GOMAXPROCS(0)
	for i := range workers + 4 {
		send(t, theirs, uint64(i+1), &wire.Seal{})
	}
	send(t, theirs, 1000, &wire.Status{})
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		l.pen.mu.Lock()
		waiting := l.pen.short
		l.pen.mu.Unlock()
		if waiting == 1 && int(sealed.Load()) == workers {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the requests were not handled")
		}
	}
	l.pen.give()
	if f := receive(t, theirs); f.ID != 1000 {
		t.Fatalf("reply %d came ahead of the short one", f.ID)
	}
	for range workers + 4 {
		receive(t, theirs)
	}
}

func TestUnreadableRequests(t *testing.T) {
	conn, ended := lanes(t, func(wire.Request, []byte) (wire.Message, error) { return nil, errors.New("platform is on fire") })
	for _, tc := range []struct {
		kind wire.Kind
		body wire.Message
		code wire.Code
	}{
		{999, &wire.Empty{}, wire.CodeMalformed},
		{wire.KindStatus.Reply(), &wire.Empty{}, wire.CodeMalformed},
		{wire.KindStatus, &wire.DrawReply{}, wire.CodeMalformed}, // a byte too many
		{wire.KindStatus, &wire.Empty{}, wire.CodeInternal},
	} {
		p, err := wire.NewPacket(7, tc.kind, tc.body)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.WriteTo(conn); err != nil {
			t.Fatal(err)
		}
		f := receive(t, conn)
		var refusal wire.Error
		if err := wire.Decode(&refusal, f.Body); err != nil || f.ID != 7 || f.Kind != wire.KindError || refusal.Code != tc.code {
			t.Errorf("kind %d: reply %d, code %d, %v", tc.kind, f.Kind, refusal.Code, err)
		}
	}
	_, _ = conn.Write([]byte{0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	if err := <-ended; !errors.Is(err, wire.ErrMalformed) {
		t.Errorf("a broken frame ends the stream with %v", err)
	}
}

// A panic is a bug: no reply, no next request, the process is told to end.
func TestPanicEndsTheProcess(t *testing.T) {
	ours, theirs := net.Pipe()
	defer theirs.Close()
	causes := make(chan any, 1)
	l := newLoop(ours, 8, func(wire.Request, []byte) (wire.Message, error) { panic("a bug") })
	l.crash = func(cause any) {
		causes <- cause
		runtime.Goexit()
	}
	go func() { _ = l.run() }()
	_ = theirs.SetDeadline(time.Now().Add(20 * time.Second))
	send(t, theirs, 1, &wire.Status{})
	if cause := <-causes; cause != "a bug" {
		t.Errorf("cause %v", cause)
	}
}

// A Lose goes by the short lane while the bulk lane seals into the same sector: it waits for what was begun, and nothing waits for ever.
// What the replies to Seal say is then true: a block lies in the lost sector and is gone, or it was refused.
func TestLoseAmongSeals(t *testing.T) {
	n := testNode()
	if _, err := n.handle(testInit(t), nil); err != nil {
		t.Fatal(err)
	}
	v := n.vault.Load()
	if err := v.RestoreBegin(nil, nil, nil); err != nil {
		t.Fatal(err)
	}
	ours, theirs := net.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- newLoop(ours, vault.BufferSize, n.handle).run() }()
	_ = theirs.SetDeadline(time.Now().Add(20 * time.Second))
	const blocks, lose = 12, 1000
	block := func(i uint64) (cid, data []byte) {
		data = bytes.Repeat([]byte{byte(i)}, 200_000)
		k := storageproof.BlockKey{Codec: storageproof.CodecRaw, Digest: sha256.Sum256(data)}
		return k.CID(), data
	}
	send(t, theirs, 1, &wire.Open{Sector: 1})
	receive(t, theirs)
	var all bytes.Buffer
	for i := range uint64(blocks) {
		cid, data := block(i)
		send(t, &all, i, &wire.Seal{Sector: 1, CID: cid, Data: data})
		if i == blocks/2 {
			send(t, &all, lose, &wire.Lose{Sector: 1})
		}
	}
	go func() {
		if _, err := all.WriteTo(theirs); err != nil {
			t.Error(err)
		}
	}()
	for range blocks + 1 {
		f := receive(t, theirs)
		var refusal wire.Error
		switch {
		case f.ID == lose && f.Kind != wire.KindLose.Reply():
			t.Errorf("Lose is answered with kind %d", f.Kind)
		case f.ID != lose && f.Kind != wire.KindSeal.Reply():
			if err := wire.Decode(&refusal, f.Body); err != nil || refusal.Code != wire.CodeFull {
				t.Errorf("block %d: %v, %v", f.ID, &refusal, err)
			}
		}
	}
	for i := range uint64(blocks) {
		cid, data := block(i)
		r, err := v.Complete(wire.Complete{Order: wire.Order{ID: i, Root: cid, Size: uint64(len(data))}})
		if err != nil || len(r.Missing) == 0 {
			t.Errorf("block %d lies in a sector that is lost: %+v, %v", i, r, err)
		}
	}
	theirs.Close()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	n.close()
}

func TestSelfTest(t *testing.T) {
	if err := SelfTest(); err != nil {
		t.Error(err)
	}
}

// A host that stops reading holds up its own replies and nothing else: what was asked for is done, and when it closes the stream the
// loop ends.
func TestHostThatStopsReading(t *testing.T) {
	var done atomic.Int32
	conn, ended := lanes(t, func(req wire.Request, _ []byte) (wire.Message, error) {
		done.Add(1)
		return &wire.Empty{}, nil
	})
	workers := runtime.GOMAXPROCS(0)
	for i := range workers + bulkQueue {
		send(t, conn, uint64(i), &wire.Seal{})
	}
	for i := range shortQueue {
		send(t, conn, uint64(i), &wire.Status{})
	}
	for deadline := time.Now().Add(10 * time.Second); int(done.Load()) < workers+1; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d requests were done by %d lanes", done.Load(), workers+1)
		}
	}
	conn.Close()
	select {
	case err := <-ended:
		t.Logf("the loop ended: %v", err)
	case <-time.After(10 * time.Second):
		t.Fatal("the loop goes on without its host")
	}
}
