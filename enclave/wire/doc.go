// Package wire is the language between the untrusted host and the enclave: frames on one byte stream, and one encoding
// for every message. The host asks, the enclave answers; requests pipeline and replies come in any order.
//
//	frame    length u32 | request id u64 | kind u16 | body        length counts what follows it
//	body     the message's fields in their order; numbers big endian, bool one byte 0 or 1,
//	         bytes and lists prefixed by their length or count as u32
//
// A message has exactly one encoding: trailing bytes, lengths above a field's limit and bools other than 0 and 1 are refused. Both
// directions of a message are written down once, in its fields method, so that they can't drift apart.
//
// Bulk kinds (Kind.Bulk) carry up to a MiB of cells and may wait for each other; slow ones (Kind.Slow) compute for up to seconds and wait
// for each other; all others are short and overtake both.
package wire
