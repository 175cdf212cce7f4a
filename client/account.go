package client

import (
	"context"
	"fmt"
	"math"
	"sync/atomic"
	"time"

	"github.com/cosmos/cosmos-sdk/codec/address"
	codectypes "github.com/cosmos/cosmos-sdk/codec/types"
	"github.com/cosmos/cosmos-sdk/crypto/keyring"
	cryptotypes "github.com/cosmos/cosmos-sdk/crypto/types"
	sdk "github.com/cosmos/cosmos-sdk/types"
	txtypes "github.com/cosmos/cosmos-sdk/types/tx"
	"github.com/cosmos/cosmos-sdk/types/tx/signing"
	authtypes "github.com/cosmos/cosmos-sdk/x/auth/types"
	"github.com/cosmos/gogoproto/proto"
)

const (
	// Prefix of addresses and Denom of the base unit, 10^-6 CELLA.
	Prefix = "cella"
	Denom  = "ucella"

	lifetime  = 30              // blocks after which a transaction that no block took is void
	sendFor   = 2 * time.Minute // how long one transaction is offered to a busy node
	busyPause = 500 * time.Millisecond
)

// Keys is what an Account needs of a keyring; the SDK's keyring.Keyring is one.
type Keys interface {
	Key(name string) (*keyring.Record, error)
	Sign(name string, msg []byte, mode signing.SignMode) ([]byte, cryptotypes.PubKey, error)
}

// Account posts transactions in the name of one key. One goroutine owns its sequence, so any number of callers may post at once; end it
// with Close.
type Account struct {
	Address string // bech32
	Bytes   [20]byte

	chain *Chain
	keys  Keys
	name  string
	pub   *codectypes.Any
	jobs  chan job
	ended chan struct{}
	stale atomic.Bool // the sequence must be read from the chain again
}

// NewAccount starts the goroutine that posts for the named key.
func NewAccount(chain *Chain, keys Keys, name string) (*Account, error) {
	rec, err := keys.Key(name)
	if err != nil {
		return nil, &Error{Kind: KindNotFound, What: fmt.Sprintf("no key %q in the keyring", name), Cause: err, Hint: "cella keys list shows the keys, cella keys add makes one"}
	}
	pub, err := rec.GetPubKey()
	if err != nil {
		return nil, wrap(KindLocal, "key "+name, err)
	}
	if len(pub.Address()) != 20 {
		return nil, &Error{Kind: KindUsage, What: fmt.Sprintf("key %q has an address of %d bytes, want 20", name, len(pub.Address()))}
	}
	addr, err := EncodeAddress(pub.Address())
	if err != nil {
		return nil, err
	}
	boxed, err := codectypes.NewAnyWithValue(pub)
	if err != nil {
		return nil, wrap(KindLocal, "key "+name, err)
	}
	a := &Account{Address: addr, Bytes: [20]byte(pub.Address()), chain: chain, keys: keys, name: name, pub: boxed,
		jobs: make(chan job), ended: make(chan struct{})}
	a.stale.Store(true)
	go a.run()
	return a, nil
}

// EncodeAddress writes 20 bytes as cella1...
func EncodeAddress(raw []byte) (string, error) {
	s, err := address.NewBech32Codec(Prefix).BytesToString(raw)
	return s, wrap(KindUsage, "address", err)
}

// DecodeAddress reads cella1...
func DecodeAddress(s string) ([20]byte, error) {
	raw, err := address.NewBech32Codec(Prefix).StringToBytes(s)
	if err != nil || len(raw) != 20 {
		return [20]byte{}, &Error{Kind: KindUsage, What: fmt.Sprintf("%q is no address", s), Cause: err, Hint: "addresses look like cella1..."}
	}
	return [20]byte(raw), nil
}

// Close ends the account's goroutine. It must not be called while a Post runs.
func (a *Account) Close() {
	close(a.jobs)
	<-a.ended
}

// Balance is the account's coins in ucella.
func (a *Account) Balance(ctx context.Context) (uint64, error) {
	return a.chain.Balance(ctx, a.Address)
}

// Result is an included transaction.
type Result struct {
	Hash    string
	Height  int64
	GasUsed int64
	data    sdk.TxMsgData
}

// Response decodes the i-th message's response.
func (r Result) Response(i int, out proto.Message) error {
	if i >= len(r.data.MsgResponses) {
		return &Error{Kind: KindNetwork, What: fmt.Sprintf("transaction %s has no response %d", r.Hash, i)}
	}
	return wrap(KindNetwork, "response of transaction "+r.Hash, proto.Unmarshal(r.data.MsgResponses[i].Value, out))
}

// Post puts messages into one transaction, pays its fee and waits until a block took it. It tries again where that is safe: when the
// sequence was off, the mempool full, the gas short, or no block took the transaction before it became void. Messages are executed
// at most once.
func (a *Account) Post(ctx context.Context, msgs ...sdk.Msg) (Result, error) {
	return a.post(ctx, nil, msgs...)
}

// post calls sending, if not nil, before each broadcast with the last height at which the transaction can still be included.
func (a *Account) post(ctx context.Context, sending func(until int64) error, msgs ...sdk.Msg) (Result, error) {
	boxed := make([]*codectypes.Any, len(msgs))
	for i, m := range msgs {
		var err error
		if boxed[i], err = codectypes.NewAnyWithValue(m); err != nil {
			return Result{}, wrap(KindUsage, "message", err)
		}
	}
	factor := 1.4
	for range 5 {
		j := job{ctx: ctx, msgs: boxed, factor: factor, sending: sending, sent: make(chan sent, 1)}
		select {
		case a.jobs <- j:
		case <-ctx.Done():
			return Result{}, wrap(KindNetwork, "transaction", ctx.Err())
		}
		s := <-j.sent
		if s.err != nil {
			return Result{}, s.err
		}
		res, err := a.await(ctx, s)
		switch {
		case err == nil:
			return res, nil
		case isCode(err, codeSequence, codeSequenceOld) || IsKind(err, KindBusy):
			a.stale.Store(true)
		case isCode(err, codeOutOfGas):
			factor *= 2
		default:
			return Result{}, err
		}
	}
	return Result{}, &Error{Kind: KindBusy, What: "the chain did not take the transaction", Hint: "is another program posting for the same key? try again"}
}

type job struct {
	ctx     context.Context
	msgs    []*codectypes.Any
	factor  float64 // gas limit over simulated gas
	sending func(until int64) error
	sent    chan sent
}

// sent is a transaction in the mempool.
type sent struct {
	hash  []byte
	after int64 // a later block may include it
	until int64 // no block after this one can
	err   error
}

// sequencer is the state of the goroutine that owns the sequence.
type sequencer struct {
	*Account
	number, sequence uint64
	price            sdk.DecCoins // the node's least price of a unit of gas
	priced           bool
}

func (a *Account) run() {
	defer close(a.ended)
	s := sequencer{Account: a}
	for j := range a.jobs {
		j.sent <- s.send(j)
	}
}

// send signs a job and offers it until the mempool takes it.
func (s *sequencer) send(j job) sent {
	ctx, cancel := context.WithTimeout(j.ctx, sendFor)
	defer cancel()
	for {
		tx, err := s.offer(ctx, j)
		if err == nil {
			return tx
		}
		var wait time.Duration
		switch {
		case isCode(err, codeSequence, codeSequenceOld):
			// Transactions of ours may still wait in the mempool, from this process or another: let a block take them.
			s.stale.Store(true)
			wait = 2 * busyPause
		case isCode(err, codeMempoolFull) || IsKind(err, KindBusy):
			wait = busyPause
		default:
			s.stale.Store(true)
			return sent{err: err}
		}
		if pause(ctx, wait) != nil {
			s.stale.Store(true)
			return sent{err: err}
		}
	}
}

// offer makes one attempt: sequence, gas, signature, broadcast.
func (s *sequencer) offer(ctx context.Context, j job) (sent, error) {
	if s.stale.Swap(false) {
		r, err := s.chain.Auth.AccountInfo(ctx, &authtypes.QueryAccountInfoRequest{Address: s.Address})
		if err != nil {
			s.stale.Store(true)
			return sent{}, s.noAccount(err)
		}
		s.number, s.sequence = r.Info.AccountNumber, r.Info.Sequence
	}
	if !s.priced {
		price, err := s.chain.GasPrice(ctx)
		if err != nil {
			return sent{}, err
		}
		s.price, s.priced = price, true
	}
	now, err := s.chain.Latest(ctx)
	if err != nil {
		return sent{}, err
	}
	body, err := (&txtypes.TxBody{Messages: j.msgs, TimeoutHeight: uint64(now + lifetime)}).Marshal()
	if err != nil {
		return sent{}, wrap(KindUsage, "transaction", err)
	}
	trial, err := s.sign(body, 0, false)
	if err != nil {
		return sent{}, err
	}
	used, err := s.chain.simulate(ctx, trial)
	if err != nil {
		return sent{}, s.noAccount(err)
	}
	tx, err := s.sign(body, uint64(float64(used)*j.factor)+20_000, true)
	if err != nil {
		return sent{}, err
	}
	if j.sending != nil {
		if err := j.sending(now + lifetime); err != nil {
			return sent{}, err
		}
	}
	hash, err := s.chain.broadcast(ctx, tx)
	if err != nil {
		return sent{}, s.noAccount(err)
	}
	s.sequence++
	return sent{hash: hash, after: now, until: now + lifetime}, nil
}

// sign builds the transaction with its fee. Without a signature it is good for simulation only.
func (s *sequencer) sign(body []byte, gas uint64, real bool) ([]byte, error) {
	fee := txtypes.Fee{GasLimit: gas}
	for _, p := range s.price {
		fee.Amount = fee.Amount.Add(sdk.NewCoin(p.Denom, p.Amount.MulInt64(int64(min(gas, math.MaxInt64))).Ceil().RoundInt()))
	}
	auth, err := (&txtypes.AuthInfo{
		SignerInfos: []*txtypes.SignerInfo{{
			PublicKey: s.pub,
			ModeInfo:  &txtypes.ModeInfo{Sum: &txtypes.ModeInfo_Single_{Single: &txtypes.ModeInfo_Single{Mode: signing.SignMode_SIGN_MODE_DIRECT}}},
			Sequence:  s.sequence,
		}},
		Fee: &fee,
	}).Marshal()
	if err != nil {
		return nil, wrap(KindLocal, "transaction", err)
	}
	raw := txtypes.TxRaw{BodyBytes: body, AuthInfoBytes: auth, Signatures: [][]byte{{}}}
	if real {
		doc, err := (&txtypes.SignDoc{BodyBytes: body, AuthInfoBytes: auth, ChainId: s.chain.ID, AccountNumber: s.number}).Marshal()
		if err != nil {
			return nil, wrap(KindLocal, "transaction", err)
		}
		if raw.Signatures[0], _, err = s.keys.Sign(s.name, doc, signing.SignMode_SIGN_MODE_DIRECT); err != nil {
			return nil, wrap(KindLocal, "signature of key "+s.name, err)
		}
	}
	p, err := raw.Marshal()
	return p, wrap(KindLocal, "transaction", err)
}

// await looks for a sent transaction in the blocks that may hold it. It needs no index of transactions on the node's side.
func (a *Account) await(ctx context.Context, s sent) (Result, error) {
	for h := s.after + 1; h <= s.until; h++ {
		if err := a.chain.Wait(ctx, h); err != nil {
			return Result{}, &Error{Kind: KindNetwork, What: fmt.Sprintf("transaction %X was sent and may still be included up to block %d", s.hash, s.until), Cause: err}
		}
		res, found, err := a.chain.included(ctx, s.hash, h)
		if err != nil || found {
			return res, err
		}
	}
	return Result{}, &Error{Kind: KindBusy, What: fmt.Sprintf("no block up to %d took transaction %X", s.until, s.hash)}
}

// noAccount gives a refusal for a missing account words that name it.
func (a *Account) noAccount(err error) error {
	if isCode(err, codeUnknownAddress, codeNotFound) {
		return &Error{Kind: KindFunds, What: fmt.Sprintf("account %s (key %q) does not exist on chain %s", a.Address, a.name, a.chain.ID),
			Hint: "an account exists once coins were sent to it"}
	}
	return err
}
