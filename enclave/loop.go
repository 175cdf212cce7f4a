package enclave

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"runtime"
	"sync"

	"github.com/cella-network/cella/enclave/wire"
)

// Bounds of what waits in the enclave. A host that sends more is not read until something is done.
const (
	shortQueue = 64
	bulkQueue  = 16
	slowQueue  = 16
)

// handler answers one request. work is a buffer of the size that Serve was told, for bulk requests; the reply may lie in it.
type handler func(req wire.Request, work []byte) (wire.Message, error)

// loop reads requests and answers them in three lanes: bulk requests by a worker a core, slow ones one after the other, and all others
// one after the other by a goroutine of their own, so that a short request waits for none of these.
type loop struct {
	handle handler
	crash  func(cause any) // nil: the runtime's own
	bodies sync.Pool       // of *[]byte, wire.MaxBody long, for bulk requests
	works  sync.Pool       // of *[]byte, for one bulk request each
	stream io.ReadWriter
	pen    *pen
}

// pen is held while a frame is written. A short reply that waits for it goes ahead of every bulk one.
type pen struct {
	mu    sync.Mutex
	free  sync.Cond
	held  bool
	short int // short replies that wait
}

func newPen() *pen {
	p := new(pen)
	p.free.L = &p.mu
	return p
}

func (p *pen) take(bulk bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !bulk {
		p.short++
		defer func() { p.short-- }()
	}
	for p.held || bulk && p.short > 0 {
		p.free.Wait()
	}
	p.held = true
}

func (p *pen) give() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held = false
	p.free.Broadcast()
}

func newLoop(stream io.ReadWriter, workSize int, handle handler) *loop {
	buffers := func(n int) sync.Pool {
		return sync.Pool{New: func() any { b := make([]byte, n); return &b }}
	}
	return &loop{handle: handle, stream: stream, pen: newPen(), bodies: buffers(wire.MaxBody), works: buffers(workSize)}
}

// job is a frame on its way through the loop; body is the buffer that it lies in, nil if that is not reused.
type job struct {
	frame wire.Frame
	body  *[]byte
}

// run serves until the stream ends: nil at its end between two frames, otherwise why it broke. All requests that were read are
// answered or dropped when it returns.
func (l *loop) run() error {
	short, slow, bulk := make(chan job, shortQueue), make(chan job, slowQueue), make(chan job, bulkQueue)
	failed, broken := make(chan error, 1), make(chan struct{})
	var once sync.Once
	fail := func(err error) {
		once.Do(func() {
			failed <- err
			close(broken)
		})
	}
	var lanes sync.WaitGroup
	lane := func(jobs <-chan job) {
		defer l.guard()
		for j := range jobs {
			if err := l.answer(j); err != nil {
				fail(err)
			}
		}
	}
	lanes.Go(func() { lane(short) })
	lanes.Go(func() { lane(slow) })
	for range runtime.GOMAXPROCS(0) {
		lanes.Go(func() { lane(bulk) })
	}

	read := make(chan error, 1)
	go func() {
		defer l.guard()
		defer close(short)
		defer close(slow)
		defer close(bulk)
		r := bufio.NewReader(l.stream)
		for {
			j, err := l.read(r)
			if err != nil {
				read <- err
				return
			}
			lane := short
			switch {
			case j.frame.Kind.Bulk():
				lane = bulk
			case j.frame.Kind.Slow():
				lane = slow
			}
			select {
			case lane <- j:
			case <-broken:
				read <- nil
				return
			}
		}
	}()
	var err error
	select {
	case err = <-read:
	case err = <-failed: // the reader ends when its owner closes the stream
		return err
	}
	lanes.Wait()
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// guard, deferred, ends the process after a panic.
func (l *loop) guard() {
	if l.crash == nil {
		return
	}
	if cause := recover(); cause != nil {
		l.crash(cause)
		panic(cause) // it returned
	}
}

func (l *loop) read(r io.Reader) (job, error) {
	var j job
	var err error
	j.frame, err = wire.ReadFrame(r, func(f wire.Frame, n int) []byte {
		if !f.Kind.Bulk() {
			return make([]byte, n) // its handler may keep parts of it
		}
		j.body = l.bodies.Get().(*[]byte)
		return *j.body
	})
	return j, err
}

// answer handles one request and writes its reply; an error means that the stream is broken.
func (l *loop) answer(j job) error {
	if j.body != nil {
		defer l.bodies.Put(j.body)
	}
	kind := j.frame.Kind
	var work []byte
	if kind.Bulk() {
		b := l.works.Get().(*[]byte)
		defer l.works.Put(b)
		work = *b
	}
	reply, err := l.reply(j.frame, work)
	var packet *wire.Packet
	if err == nil {
		if packet, err = wire.NewPacket(j.frame.ID, kind.Reply(), reply); err != nil {
			err = &wire.Error{Code: wire.CodeInternal, Message: err.Error()}
		}
	}
	if err != nil {
		packet, err = wire.NewPacket(j.frame.ID, wire.KindError, refusal(err))
		if err != nil {
			return err
		}
	}
	l.pen.take(kind.Bulk())
	defer l.pen.give()
	_, err = packet.WriteTo(l.stream)
	return err
}

func (l *loop) reply(f wire.Frame, work []byte) (wire.Message, error) {
	req := wire.NewRequest(f.Kind)
	if req == nil {
		return nil, fmt.Errorf("%w: no request of kind %d", wire.ErrMalformed, f.Kind)
	}
	if err := wire.Decode(req, f.Body); err != nil {
		return nil, err
	}
	return l.handle(req, work)
}
