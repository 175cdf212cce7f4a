package main

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"slices"

	abci "github.com/cometbft/cometbft/abci/types"
	"github.com/cosmos/gogoproto/proto"

	sdk "github.com/cosmos/cosmos-sdk/types"

	"github.com/cella-network/cella/api/attest"
	"github.com/cella-network/cella/api/beacon"
	"github.com/cella-network/cella/api/committee"
	"github.com/cella-network/cella/chain/app"
	"github.com/cella-network/cella/protocol/attestation"
	rules "github.com/cella-network/cella/protocol/beacon"
	"github.com/cella-network/cella/protocol/threshold"
)

const (
	phaseBlocks = 8   // of the ceremony, so that the messages of a phase fit
	postGas     = 5e6 // of a transaction with one message of a ceremony
	perBlock    = 30  // such transactions
)

// numbers is the group that makes the numbers of our application's blocks.
type numbers struct {
	*outcome
	epoch  uint64
	from   int64
	quorum *threshold.Quorum
}

// register gives each operator an enclave, by which it may hold a key.
func (l *ledger) register(g app.Genesis) error {
	var at attest.GenesisState
	if err := g.Change("attest", &at, func() error {
		at.Params.Devnet = true
		for _, o := range l.operators {
			n := attestation.Node{Account: attestation.Account(o.address), Platform: attestation.PlatformSim, Tier: attestation.TierHigh, Joined: 1, Expires: 1 << 30}
			copy(n.SignKey[:], enclaveKey(o.address).Public().(ed25519.PublicKey))
			n.PlatformID = sha256.Sum256(n.SignKey[:])
			at.Nodes = append(at.Nodes, attest.GenesisNode{Record: n.Marshal()})
		}
		return nil
	}); err != nil {
		return err
	}
	var co committee.GenesisState
	return g.Change("committee", &co, func() error { co.Params.PhaseBlocks = phaseBlocks; return nil })
}

func enclaveKey(a sdk.AccAddress) ed25519.PrivateKey {
	seed := sha256.Sum256(a)
	return ed25519.NewKeyFromSeed(seed[:])
}

// makeKey goes through the chain's own ceremony until a group of all operators is in charge.
func (l *ledger) makeKey(a *app.App) error {
	var r committee.QueryCeremonyResponse
	for r.Ceremony == nil {
		if err := l.advance(a, nil); err != nil {
			return err
		}
		if err := ask(a, "/cella.committee.v1.Query/Ceremony", &committee.QueryCeremonyRequest{Purpose: purpose}, &r); err != nil {
			return err
		}
		if l.height > 50 {
			return fmt.Errorf("no ceremony in %d blocks", l.height)
		}
	}
	setup := threshold.Setup{ID: threshold.ID{ChainID: chainID, Purpose: purpose, Epoch: r.Ceremony.Setup.Epoch, Attempt: r.Ceremony.Setup.Attempt},
		Threshold: int(r.Ceremony.Setup.Threshold)}
	for _, s := range r.Ceremony.Setup.Seats {
		account, err := sdk.AccAddressFromBech32(s.Account)
		if err != nil {
			return err
		}
		setup.Seats = append(setup.Seats, threshold.Seat{Account: [20]byte(account), Shares: int(s.Shares)})
	}
	o, err := play(setup, nil) // what everybody says does not depend on who carries it
	if err != nil {
		return err
	}
	for _, phase := range o.said {
		if err := l.post(a, phase); err != nil {
			return err
		}
		for ends := r.Ceremony.Ends; l.height <= ends; {
			if err := l.advance(a, nil); err != nil {
				return err
			}
		}
		if err := ask(a, "/cella.committee.v1.Query/Ceremony", &committee.QueryCeremonyRequest{Purpose: purpose}, &r); err != nil {
			return err
		}
	}
	var c committee.QueryChargeResponse
	if err := ask(a, "/cella.committee.v1.Query/Charge", &committee.QueryChargeRequest{Purpose: purpose}, &c); err != nil {
		return err
	}
	if c.Charge == nil {
		return fmt.Errorf("the ceremony ended in phase %q without a group in charge", r.Ceremony.Phase)
	}
	seats := make([]int, len(setup.Seats))
	for i := range seats {
		seats[i] = i
	}
	q, err := o.group.Quorum(seats)
	l.numbers = &numbers{outcome: o, epoch: c.Charge.Epoch, from: c.Charge.From, quorum: q}
	for err == nil && l.height <= c.Charge.From {
		err = l.advance(a, nil)
	}
	return err
}

// post brings the messages of a phase to the chain, some in a block.
func (l *ledger) post(a *app.App, said []statement) error {
	for some := range slices.Chunk(said, perBlock) {
		var txs [][]byte
		for _, s := range some {
			i := slices.IndexFunc(l.operators, func(u user) bool { return u.address.Equals(sdk.AccAddress(s.from[:])) })
			signature := ed25519.Sign(enclaveKey(l.operators[i].address), threshold.PostStatement(chainID, s.from, s.message))
			tx, err := l.sign(&l.operators[i], &committee.MsgPost{Member: l.operators[i].address.String(), Purpose: purpose,
				Messages: []committee.Signed{{Message: s.message, Signature: signature}}}, postGas)
			if err != nil {
				return err
			}
			txs = append(txs, tx)
		}
		if err := l.advance(a, txs); err != nil {
			return err
		}
	}
	return nil
}

// number is what the next block carries: the number of the height before.
func (s *numbers) number(height int64) ([]byte, error) {
	message := threshold.Message{ChainID: chainID, Epoch: s.epoch, Height: height - 1}.Marshal()
	var partials []threshold.Partial
	for _, seat := range s.quorum.Seats() {
		p, err := s.shares[seat].Sign(s.group, message)
		if err != nil {
			return nil, err
		}
		partials = append(partials, p)
	}
	sig, err := s.quorum.Combine(partials)
	return rules.Carried{{Height: height - 1, Signature: sig}}.Marshal(), err
}

// arrived fails if the last block of our application did not carry the number of the height before it.
func (l *ledger) arrived(m machine) error {
	a, ours := m.(*app.App)
	if !ours {
		return nil
	}
	var r beacon.QueryNumberResponse
	if err := ask(a, "/cella.beacon.v1.Query/Number", &beacon.QueryNumberRequest{}, &r); err != nil {
		return err
	}
	if r.Number.Height != l.height-2 || r.Number.Carried != l.height-1 {
		return fmt.Errorf("the last number is that of height %d, the last block %d", r.Number.Height, l.height-1)
	}
	return nil
}

func ask(a *app.App, path string, req, resp proto.Message) error {
	data, err := proto.Marshal(req)
	if err != nil {
		return err
	}
	r, err := a.Query(context.Background(), &abci.RequestQuery{Path: path, Data: data})
	if err != nil {
		return err
	}
	if r.Code != 0 {
		return fmt.Errorf("%s: %s", path, r.Log)
	}
	resp.Reset()
	return proto.Unmarshal(r.Value, resp)
}
