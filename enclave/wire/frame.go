package wire

import (
	"encoding/binary"
	"fmt"
	"io"
)

// MaxBody is the most bytes of a frame's body.
const MaxBody = 2 << 20

const (
	frameHead = 4 + 8 + 2
	refFrom   = 16 << 10 // byte fields from here on are written from where they lie
)

// Frame is one message on its way. In a reply ID is the request's.
type Frame struct {
	ID   uint64
	Kind Kind
	Body []byte
}

// ReadFrame reads the next frame. The body lies in what buffer returns for a frame of this id and kind and n bytes of body, or in
// fresh memory if buffer is nil. An end of the stream between two frames is io.EOF, within one io.ErrUnexpectedEOF.
func ReadFrame(r io.Reader, buffer func(f Frame, n int) []byte) (Frame, error) {
	var head [frameHead]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return Frame{}, err
	}
	n := int64(binary.BigEndian.Uint32(head[:])) - (frameHead - 4)
	if n < 0 || n > MaxBody {
		return Frame{}, fmt.Errorf("%w: frame body of %d bytes, at most %d", ErrMalformed, n, MaxBody)
	}
	f := Frame{ID: binary.BigEndian.Uint64(head[4:]), Kind: Kind(binary.BigEndian.Uint16(head[12:]))}
	if buffer == nil {
		f.Body = make([]byte, n)
	} else {
		f.Body = buffer(f, int(n))[:n]
	}
	if _, err := io.ReadFull(r, f.Body); err != nil {
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		return Frame{}, err
	}
	return f, nil
}

// Packet is a frame made ready for writing. Its large byte fields are not copied, so the message must not change before
// it is written.
type Packet struct{ c codec }

// NewPacket encodes a message as a frame; nothing is written when it is above a limit.
func NewPacket(id uint64, kind Kind, m Message) (*Packet, error) {
	p := &Packet{codec{out: make([]byte, frameHead, 512), byRef: refFrom}}
	m.fields(&p.c)
	if p.c.err != nil {
		return nil, fmt.Errorf("encode %T: %w", m, p.c.err)
	}
	n := len(p.c.out) - 4
	for _, r := range p.c.refs {
		n += len(r.p)
	}
	if n > MaxBody+frameHead-4 {
		return nil, fmt.Errorf("encode %T: %w: body above %d bytes", m, ErrMalformed, MaxBody)
	}
	binary.BigEndian.PutUint32(p.c.out, uint32(n))
	binary.BigEndian.PutUint64(p.c.out[4:], id)
	binary.BigEndian.PutUint16(p.c.out[12:], uint16(kind))
	return p, nil
}

// WriteTo writes the frame: one writev where w is a socket. A frame that was written in part ends its stream.
func (p *Packet) WriteTo(w io.Writer) (int64, error) {
	if len(p.c.refs) == 0 {
		n, err := w.Write(p.c.out)
		return int64(n), err
	}
	bufs := p.c.buffers()
	return bufs.WriteTo(w)
}
