package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
)

// ErrMalformed is the kind of every error about bytes that are not a frame or message of this package.
var ErrMalformed = errors.New("malformed message")

// Message is a body. Its fields method names the fields in their order and serves both directions.
type Message interface{ fields(*codec) }

// Append adds the message's one encoding to b. It fails where a field is above its limit.
func Append(b []byte, m Message) ([]byte, error) {
	c := codec{out: b}
	m.fields(&c)
	if c.err != nil {
		return nil, fmt.Errorf("encode %T: %w", m, c.err)
	}
	return c.out, nil
}

// Decode reads the encoding of m and nothing else. Byte fields alias body: they hold as long as body does.
func Decode(m Message, body []byte) error {
	c := codec{in: body, decoding: true}
	m.fields(&c)
	if c.err == nil && len(c.in) != 0 {
		c.err = fmt.Errorf("%w: %d bytes too many", ErrMalformed, len(c.in))
	}
	if c.err != nil {
		return fmt.Errorf("decode %T: %w", m, c.err)
	}
	return nil
}

// codec walks the fields of a message. Decoding, it takes them from in; encoding, it adds them to out. After the first
// error nothing happens any more.
type codec struct {
	decoding bool
	in       []byte
	out      []byte
	byRef    int   // encoding: byte fields of at least this length are sent from where they lie; 0: all are copied
	refs     []ref // where they belong
	err      error
}

type ref struct {
	at int // bytes of out ahead of it
	p  []byte
}

// buffers puts out and the fields taken by reference in their order.
func (c *codec) buffers() net.Buffers {
	bufs := make(net.Buffers, 0, 2*len(c.refs)+1)
	from := 0
	for _, r := range c.refs {
		bufs = append(bufs, c.out[from:r.at], r.p)
		from = r.at
	}
	return append(bufs, c.out[from:])
}

func (c *codec) fail(format string, args ...any) {
	if c.err == nil {
		c.err = fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
	}
}

// take returns the next n bytes of in, or nil after an error.
func (c *codec) take(n int) []byte {
	if c.err != nil {
		return nil
	}
	if n > len(c.in) {
		c.fail("%d bytes left, want %d", len(c.in), n)
		return nil
	}
	p := c.in[:n:n]
	c.in = c.in[n:]
	return p
}

func (c *codec) bool(v *bool) {
	var b uint8
	if *v {
		b = 1
	}
	c.u8(&b)
	if b > 1 {
		c.fail("bool %d", b)
	}
	*v = b == 1
}

func (c *codec) u8(v *uint8) {
	if !c.decoding {
		c.out = append(c.out, *v)
	} else if p := c.take(1); p != nil {
		*v = p[0]
	}
}

func (c *codec) u16(v *uint16) {
	if !c.decoding {
		c.out = binary.BigEndian.AppendUint16(c.out, *v)
	} else if p := c.take(2); p != nil {
		*v = binary.BigEndian.Uint16(p)
	}
}

func (c *codec) u32(v *uint32) {
	if !c.decoding {
		c.out = binary.BigEndian.AppendUint32(c.out, *v)
	} else if p := c.take(4); p != nil {
		*v = binary.BigEndian.Uint32(p)
	}
}

func (c *codec) u64(v *uint64) {
	if !c.decoding {
		c.out = binary.BigEndian.AppendUint64(c.out, *v)
	} else if p := c.take(8); p != nil {
		*v = binary.BigEndian.Uint64(p)
	}
}

// height is a block height: never negative.
func (c *codec) height(v *int64) {
	u := uint64(*v)
	c.u64(&u)
	if u > 1<<62 {
		c.fail("height %d", u)
		return
	}
	*v = int64(u)
}

// array is a field of fixed length.
func (c *codec) array(v []byte) {
	if !c.decoding {
		c.out = append(c.out, v...)
	} else {
		copy(v, c.take(len(v)))
	}
}

// bytes is a field of at most limit bytes.
func (c *codec) bytes(v *[]byte, limit int) {
	n := c.length(len(*v), limit, 1)
	if c.err != nil {
		return
	}
	if c.decoding {
		*v = c.take(n)
		if n == 0 {
			*v = nil
		}
		return
	}
	if c.byRef > 0 && n >= c.byRef {
		c.refs = append(c.refs, ref{len(c.out), *v})
		return
	}
	c.out = append(c.out, *v...)
}

func (c *codec) string(v *string, limit int) {
	p := []byte(*v)
	c.bytes(&p, limit)
	*v = string(p)
}

// length is the prefix of a field or list: at most limit, and when decoding no more than what is left can hold, so that
// a claimed length never makes anyone allocate.
func (c *codec) length(n, limit, each int) int {
	u := uint32(min(n, limit+1))
	c.u32(&u)
	switch {
	case c.err != nil:
		return 0
	case int64(u) > int64(limit):
		c.fail("length above the limit of %d", limit)
		return 0
	case c.decoding && int64(u)*int64(each) > int64(len(c.in)):
		c.fail("length %d with %d bytes left", u, len(c.in))
		return 0
	}
	return int(u)
}

// list is a list of at most limit elements of at least each bytes.
func list[T any](c *codec, v *[]T, limit, each int, element func(*T)) {
	n := c.length(len(*v), limit, each)
	if c.err != nil {
		return
	}
	if c.decoding {
		*v = nil
		if n > 0 {
			*v = make([]T, n)
		}
	}
	for i := range *v {
		element(&(*v)[i])
		if c.err != nil {
			return
		}
	}
}

func (c *codec) u32s(v *[]uint32, limit int) { list(c, v, limit, 4, c.u32) }

func (c *codec) u64s(v *[]uint64, limit int) { list(c, v, limit, 8, c.u64) }

func (c *codec) byteses(v *[][]byte, count, limit int) {
	list(c, v, count, 4, func(p *[]byte) { c.bytes(p, limit) })
}
