package host

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"unsafe"

	"github.com/cella-network/cella/enclave/wire"
)

// window is how many bulk requests are in flight: enough to keep every core of the enclave busy while frames travel, few
// enough that their buffers stay small.
const window = 8

// page is where memory must begin to be written past the page cache.
const page = 4096

// ErrEnded says that the stream to the enclave has ended: the child died or was closed, and its keys are gone.
var ErrEnded = errors.New("the enclave has ended")

// Enclave is a running enclave. It is safe for concurrent use.
type Enclave struct {
	stream io.ReadWriteCloser
	stop   func() // ends the child and waits for it

	bulk     chan struct{} // window: a slot a bulk request in flight, held until its reply is here
	bulkTurn chan struct{} // held by the one bulk request that may ask for the pen
	pen      chan struct{} // held while one frame is written

	mu      sync.Mutex
	next    uint64
	pending map[uint64]ticket
	err     error // why the stream ended

	done  chan struct{}
	quiet chan struct{} // nothing is read any more
	once  sync.Once
}

// ticket waits for a reply, which may have memory to lie in.
type ticket struct {
	reply chan<- wire.Frame
	buf   []byte
}

// newEnclave speaks over a stream; stop is called once when it has ended.
func newEnclave(stream io.ReadWriteCloser, stop func()) *Enclave {
	e := &Enclave{
		stream: stream, stop: stop,
		bulk: make(chan struct{}, window), bulkTurn: make(chan struct{}, 1), pen: make(chan struct{}, 1),
		pending: make(map[uint64]ticket),
		done:    make(chan struct{}), quiet: make(chan struct{}),
	}
	go e.read()
	return e
}

// Call sends a request and waits for its reply, whose byte fields are then the caller's own; those of a wire.Into lie in its Buf if
// they have room there. req must not change before
// Call returns. A refusal is a *wire.Error; after the child has ended every call fails with ErrEnded. When ctx ends
// first the request may still take effect.
func (e *Enclave) Call(ctx context.Context, req wire.Request, reply wire.Message) error {
	kind := req.Kind()
	answered := make(chan wire.Frame, 1)
	t := ticket{reply: answered}
	if into, ok := reply.(wire.Into); ok {
		t.buf = into.Buf
	}
	release := func() {}
	if kind.Bulk() {
		if err := e.enter(ctx, e.bulk); err != nil {
			return err
		}
		// The slot is free again when the enclave has answered, not when the caller loses patience.
		release = sync.OnceFunc(func() { <-e.bulk })
	}
	id, err := e.send(ctx, req, kind, t)
	if err != nil {
		release()
		return err
	}
	select {
	case f := <-answered:
		release()
		return decode(f, kind, reply)
	case <-e.done:
		if t.buf != nil {
			<-e.quiet // it may be being written to
		}
		release()
		return e.ended()
	case <-ctx.Done():
		if t.buf != nil && !e.takeBack(id) { // the reply is on its way into the caller's memory
			select {
			case <-answered:
			case <-e.quiet:
			}
			release()
		} else if kind.Bulk() {
			go func() {
				select {
				case <-answered:
				case <-e.done:
				}
				release()
			}()
		}
		return fmt.Errorf("enclave request %d: %w", id, ctx.Err())
	}
}

// takeBack takes the memory for a reply back; false if it has been handed out.
func (e *Enclave) takeBack(id uint64) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	t, ok := e.pending[id]
	if ok {
		t.buf = nil
		e.pending[id] = t
	}
	return ok
}

// send writes the request as soon as it is its turn. Once a frame is begun it is finished, whatever ctx says.
func (e *Enclave) send(ctx context.Context, req wire.Request, kind wire.Kind, t ticket) (uint64, error) {
	e.mu.Lock()
	e.next++
	id := e.next
	e.mu.Unlock()
	packet, err := wire.NewPacket(id, kind, req)
	if err != nil {
		return 0, err
	}
	if kind.Bulk() {
		// Only one bulk request at a time stands in line for the pen: a short one has at most that one ahead of it.
		if err := e.enter(ctx, e.bulkTurn); err != nil {
			return 0, err
		}
		defer func() { <-e.bulkTurn }()
	}
	if err := e.enter(ctx, e.pen); err != nil {
		return 0, err
	}
	defer func() { <-e.pen }()
	e.mu.Lock()
	e.pending[id] = t
	e.mu.Unlock()
	if _, err := packet.WriteTo(e.stream); err != nil {
		e.end(err)
		return 0, e.ended()
	}
	return id, nil
}

// enter takes a place in a line.
func (e *Enclave) enter(ctx context.Context, line chan<- struct{}) error {
	select {
	case line <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-e.done:
		return e.ended()
	}
}

// read hands replies to those who wait for them until the stream ends.
func (e *Enclave) read() {
	defer close(e.quiet)
	r := bufio.NewReader(e.stream)
	for {
		var t ticket
		var open bool
		f, err := wire.ReadFrame(r, func(f wire.Frame, n int) []byte {
			e.mu.Lock()
			defer e.mu.Unlock()
			t, open = e.pending[f.ID]
			delete(e.pending, f.ID)
			return place(t.buf, n, f.Kind.CellsAt())
		})
		if err == nil && !open {
			err = fmt.Errorf("reply to request %d, which is not open", f.ID)
		}
		if err != nil {
			e.end(err)
			return
		}
		t.reply <- f
	}
}

// place finds room for a body in buf such that its cells begin on a page, or anywhere, or else makes some.
func place(buf []byte, n, cellsAt int) []byte {
	if len(buf) < n || n == 0 {
		return make([]byte, n)
	}
	skip := 0
	if cellsAt > 0 {
		skip = -(int(uintptr(unsafe.Pointer(&buf[0]))) + cellsAt) & (page - 1)
	}
	if len(buf)-skip < n {
		skip = 0
	}
	return buf[skip : skip+n]
}

// decode reads the reply to a request of a kind.
func decode(f wire.Frame, kind wire.Kind, reply wire.Message) error {
	switch f.Kind {
	case kind.Reply():
		return wire.Decode(reply, f.Body)
	case wire.KindError:
		refusal := new(wire.Error)
		if err := wire.Decode(refusal, f.Body); err != nil {
			return err
		}
		return refusal
	}
	return fmt.Errorf("request of kind %d answered with kind %d: %w", kind, f.Kind, wire.ErrMalformed)
}

// end closes the stream once and lets every waiting call go.
func (e *Enclave) end(err error) {
	e.once.Do(func() {
		e.mu.Lock()
		e.err = err
		e.mu.Unlock()
		_ = e.stream.Close()
		e.stop()
		close(e.done)
	})
}

func (e *Enclave) ended() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.err == nil || errors.Is(e.err, io.EOF) || errors.Is(e.err, errClosed) {
		return ErrEnded
	}
	return fmt.Errorf("%w: %w", ErrEnded, e.err)
}

var errClosed = errors.New("closed")

// Done is closed when the child has ended.
func (e *Enclave) Done() <-chan struct{} { return e.done }

// Close ends the child, whose keys are gone with it, and waits until it has ended.
func (e *Enclave) Close() error {
	e.end(errClosed)
	<-e.done
	return nil
}
