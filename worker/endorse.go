package worker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/libp2p/go-libp2p/core/network"
	"github.com/libp2p/go-libp2p/core/peer"
	"github.com/libp2p/go-libp2p/core/protocol"
	"github.com/libp2p/go-msgio"

	"github.com/cella-network/cella/api/attest"
	"github.com/cella-network/cella/client"
	"github.com/cella-network/cella/enclave/wire"
	"github.com/cella-network/cella/protocol/attestation"
)

// The exchange between the hosts of a joining enclave M and its endorser V, over one stream. Each message is a varint length and
// so many bytes.
//
//	M -> V   Sig_M(R) (64 bytes), R
//	V -> M   nonce (32 bytes), V's evidence
//	M -> V   M's evidence
//	V -> M   Sig_V(R) (64 bytes)
//
// A side that refuses resets the stream; its reason is in its own log. V talks only to the peer that an intent on chain names, and only when
// the chain drew V for it: a stranger costs it one query.
const endorseProtocol protocol.ID = "/cella/endorse/1.0.0"

const (
	maxMessage   = attestation.MaxRegistration + 64
	maxGuests    = 4                // joiners served at once
	exchangeTime = 30 * time.Second // of one exchange, for both sides
)

// askEndorser runs M's side and returns Sig_V(R) and Sig_M(Sig_V(R)).
func (s *session) askEndorser(ctx context.Context, a attempt, intent attestation.Intent, endorser string) (sigV, sigMV [64]byte, err error) {
	// Both records must be proven under a header that the enclave trusts.
	head, err := s.heads.wait(ctx, max(intent.Drawn, a.height)+1)
	if err != nil {
		return sigV, sigMV, err
	}
	drawn, err := s.prove(ctx, attestation.StoreName, attestation.IntentKey(s.Account), head-1)
	if err != nil {
		return sigV, sigMV, err
	}
	record, err := s.prove(ctx, attestation.StoreName, attestation.NodeKey(intent.Endorser), head-1)
	if err != nil {
		return sigV, sigMV, err
	}
	stream, err := s.dial(ctx, endorser)
	if err != nil {
		return sigV, sigMV, err
	}
	defer func() { _ = stream.Reset() }() // harmless after Close
	msgs := newMessages(ctx, stream)
	if err := msgs.send(append(a.sigM[:], a.raw...)); err != nil {
		return sigV, sigMV, err
	}
	challenge, err := msgs.receive(32)
	if err != nil {
		return sigV, sigMV, fmt.Errorf("no challenge: %w", err)
	}
	var answer wire.AnswerReply
	if err := s.call(&wire.Answer{Nonce: [32]byte(challenge[:32]), Evidence: challenge[32:], Endorser: record, Intent: drawn}, &answer); err != nil {
		return sigV, sigMV, fmt.Errorf("our enclave refuses to answer: %w", err)
	}
	if err := msgs.send(answer.Evidence); err != nil {
		return sigV, sigMV, err
	}
	signed, err := msgs.receive(64)
	if err != nil || len(signed) != 64 {
		return sigV, sigMV, fmt.Errorf("no endorsement: %w", err)
	}
	var confirm wire.ConfirmReply
	if err := s.call(&wire.Confirm{SigV: [64]byte(signed)}, &confirm); err != nil {
		return sigV, sigMV, fmt.Errorf("our enclave refuses the endorsement: %w", err)
	}
	return [64]byte(signed), confirm.SigMV, stream.Close()
}

// dial opens a stream to a registered node at its addresses on chain.
func (s *session) dial(ctx context.Context, operator string) (network.Stream, error) {
	r, err := s.Queries.Attest.Node(ctx, &attest.QueryNodeRequest{Operator: operator})
	if err != nil {
		return nil, err
	}
	h := s.Content.Host()
	failed := errors.New("it has no address on chain")
	for _, addr := range r.Node.Addrs {
		info, err := peer.AddrInfoFromString(addr)
		if err == nil {
			err = h.Connect(ctx, *info)
		}
		if err != nil {
			failed = err
			continue
		}
		stream, err := h.NewStream(ctx, info.ID, endorseProtocol)
		if err == nil {
			return stream, nil
		}
		failed = err
	}
	return nil, failed
}

// serveEndorsing answers joiners until ctx ends.
func (s *session) serveEndorsing(ctx context.Context) {
	guests := make(chan struct{}, maxGuests)
	h := s.Content.Host()
	h.SetStreamHandler(endorseProtocol, func(stream network.Stream) {
		defer func() { _ = stream.Reset() }()
		select {
		case guests <- struct{}{}:
			defer func() { <-guests }()
		default:
			return
		}
		ctx, cancel := context.WithTimeout(ctx, exchangeTime)
		defer cancel()
		operator, err := s.endorse(ctx, stream)
		if err != nil {
			s.Log.Info("refused to endorse", "operator", operator, "peer", stream.Conn().RemotePeer(), "err", err)
			return
		}
		s.Log.Info("endorsed", "operator", operator)
	})
	context.AfterFunc(ctx, func() { h.RemoveStreamHandler(endorseProtocol) })
}

// endorse runs V's side.
func (s *session) endorse(ctx context.Context, stream network.Stream) (operator string, err error) {
	msgs := newMessages(ctx, stream)
	first, err := msgs.receive(64)
	if err != nil {
		return "", err
	}
	sigM, raw := [64]byte(first[:64]), first[64:]
	r, err := attestation.UnmarshalRegistration(raw)
	if err != nil {
		return "", err
	}
	if operator, err = client.EncodeAddress(r.Account[:]); err != nil {
		return "", err
	}
	intent, err := s.drawnFor(ctx, r, operator, stream.Conn().RemotePeer())
	if err != nil {
		return operator, err
	}
	var challenge wire.ChallengeReply
	if err := s.call(&wire.Challenge{Registration: raw, SigM: sigM, Intent: intent}, &challenge); err != nil {
		return operator, err
	}
	if err := msgs.send(append(challenge.Nonce[:], challenge.Evidence...)); err != nil {
		return operator, err
	}
	evidence, err := msgs.receive(1)
	if err != nil {
		return operator, err
	}
	var signed wire.EndorseReply
	if err := s.call(&wire.Endorse{Registration: r.Hash(), Evidence: evidence}, &signed); err != nil {
		return operator, err
	}
	if err := msgs.send(signed.SigV[:]); err != nil {
		return operator, err
	}
	return operator, stream.Close()
}

// drawnFor checks that the chain drew us for this registration and that the peer is who announced it, and proves the intent.
func (s *session) drawnFor(ctx context.Context, r attestation.Registration, operator string, from peer.ID) (wire.Proof, error) {
	q, err := s.Queries.Attest.Intent(ctx, &attest.QueryIntentRequest{Operator: operator})
	if err != nil {
		return wire.Proof{}, err
	}
	if q.Intent.Endorser != s.Address {
		return wire.Proof{}, errors.New("the chain did not draw this node for it")
	}
	if !slices.ContainsFunc(q.Intent.Addrs, func(a string) bool {
		info, err := peer.AddrInfoFromString(a)
		return err == nil && info.ID == from
	}) {
		return wire.Proof{}, errors.New("the intent names other peers")
	}
	head, err := s.heads.wait(ctx, q.Intent.Drawn+1)
	if err != nil {
		return wire.Proof{}, err
	}
	p, err := s.prove(ctx, attestation.StoreName, attestation.IntentKey(r.Account), head-1)
	if err != nil {
		return wire.Proof{}, err
	}
	i, err := attestation.UnmarshalIntent(p.Value)
	if err != nil {
		return wire.Proof{}, err
	}
	return p, i.CheckDrawn(r, s.Account)
}

// messages frames one stream.
type messages struct {
	w msgio.WriteCloser
	r msgio.ReadCloser
}

func newMessages(ctx context.Context, stream network.Stream) messages {
	if end, ok := ctx.Deadline(); ok {
		_ = stream.SetDeadline(end)
	} else {
		_ = stream.SetDeadline(time.Now().Add(exchangeTime))
	}
	return messages{w: msgio.NewVarintWriter(stream), r: msgio.NewVarintReaderSize(stream, maxMessage)}
}

func (m messages) send(p []byte) error { return m.w.WriteMsg(p) }

// receive reads a message of at least so many bytes.
func (m messages) receive(least int) ([]byte, error) {
	p, err := m.r.ReadMsg()
	if err != nil {
		return nil, err
	}
	if len(p) < least {
		return nil, fmt.Errorf("message of %d bytes, want at least %d", len(p), least)
	}
	return p, nil
}
