package client

import (
	"context"
	"errors"
	"strings"
)

// Kind sorts errors by what the caller can do about them.
type Kind string

const (
	KindUsage       Kind = "usage"       // the request makes no sense as it stands
	KindNotFound    Kind = "not-found"   // no such file, order, key or account
	KindNetwork     Kind = "network"     // the node can't be reached or can't answer yet
	KindFunds       Kind = "funds"       // the account can't pay
	KindRefused     Kind = "refused"     // the chain's rules say no
	KindBusy        Kind = "busy"        // right now there is no room; later there may be
	KindUnavailable Kind = "unavailable" // no holder could be reached for a block
	KindUnproven    Kind = "unproven"    // a proof does not hold
	KindLocal       Kind = "local"       // something on this machine failed
	KindStopped     Kind = "stopped"     // the caller ended it
)

// Error says what failed, of which kind, why, and what to try.
type Error struct {
	Kind  Kind
	What  string // what was being done or what is wrong, in a few words
	Cause error  // may be nil
	Hint  string // may be empty
}

func (e *Error) Error() string {
	switch {
	case e.Cause == nil:
		return e.What
	case e.What == "":
		return e.Cause.Error()
	}
	return e.What + ": " + e.Cause.Error()
}

func (e *Error) Unwrap() error { return e.Cause }

// IsKind tells whether an error, or one that it wraps, is of a kind.
func IsKind(err error, k Kind) bool {
	var e *Error
	return errors.As(err, &e) && e.Kind == k
}

// wrap gives an error its kind and words, unless it carries a kind already: then only the words are added.
func wrap(k Kind, what string, err error) error {
	if err == nil {
		return nil
	}
	var e *Error
	if errors.As(err, &e) {
		return &Error{Kind: e.Kind, What: what, Cause: err, Hint: e.Hint}
	}
	return &Error{Kind: k, What: what, Cause: err}
}

// stopped says that the caller ended what was being done, rather than how the parts of it failed.
func stopped(ctx context.Context, err error, what, hint string) error {
	if err == nil || ctx.Err() == nil {
		return err
	}
	e := &Error{Kind: KindStopped, What: what, Hint: hint}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		e.Cause = ctx.Err()
	}
	return e
}

// abciError is a code that the application answered with. It is the cause of the Error made of it.
type abciError struct {
	Space string
	Code  uint32
	Log   string
}

func (e *abciError) Error() string { return e.Log }

// Codes of the SDK's root codespace that mean something to a client.
const (
	sdkSpace = "sdk"

	codeSequence       = 32
	codeSequenceOld    = 3
	codeFunds          = 5
	codeUnknownRequest = 6
	codeUnknownAddress = 9
	codeOutOfGas       = 11
	codeFee            = 13
	codeInvalid        = 18
	codeInCache        = 19
	codeMempoolFull    = 20
	codeTooLarge       = 21
	codeNotFound       = 22
	codeUnauthorized   = 4
)

// refusal makes an Error of an application's code. Codes of other codespaces are rules of the modules: refused.
func refusal(what, space string, code uint32, log string) error {
	e := &Error{Kind: KindRefused, What: what, Cause: &abciError{Space: space, Code: code, Log: firstLine(log)}}
	if space != sdkSpace {
		return e
	}
	switch code {
	case codeFunds:
		e.Kind, e.Hint = KindFunds, "send ucella to the account, or store less, for fewer days or at a lower price"
	case codeFee:
		e.Kind, e.Hint = KindFunds, "the node asks for a higher fee than was offered; ask another node or wait"
	case codeUnknownAddress, codeNotFound:
		e.Kind = KindNotFound
		if code == codeUnknownAddress {
			e.Hint = "an account exists once coins were sent to it"
		}
	case codeMempoolFull, codeSequence, codeSequenceOld:
		e.Kind, e.Hint = KindBusy, "try again in a few seconds"
	case codeInvalid:
		e.Kind = KindUsage
	}
	return e
}

// isCode tells whether an error comes from one of these codes of the SDK's codespace.
func isCode(err error, codes ...uint32) bool {
	var a *abciError
	if !errors.As(err, &a) || a.Space != sdkSpace {
		return false
	}
	for _, c := range codes {
		if a.Code == c {
			return true
		}
	}
	return false
}

// absent tells that a query for one item found none. Modules answer with a refusal of the request there.
func absent(err error) bool {
	return IsKind(err, KindNotFound) || isCode(err, codeInvalid, codeUnknownRequest)
}

// firstLine drops what applications append after the message: stack traces and the list of wrapped errors.
func firstLine(s string) string {
	s, _, _ = strings.Cut(strings.TrimSpace(s), "\n")
	return s
}
