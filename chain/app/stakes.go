package app

import (
	"bytes"
	"context"
	"slices"

	"github.com/cosmos/cosmos-sdk/crypto/keys/ed25519"

	"github.com/cella-network/cella/protocol/beacon"
	"github.com/cella-network/cella/protocol/threshold"
)

// stakes answers for x/staking as it is.
type stakes struct{ app *App }

func (s stakes) Voters(ctx context.Context, height int64) ([]beacon.Voter, error) {
	var out []beacon.Voter
	vals, err := s.app.Staking.GetBondedValidatorsByPower(ctx)
	if err != nil {
		return nil, err
	}
	for _, v := range vals {
		op, err := s.app.Staking.ValidatorAddressCodec().StringToBytes(v.OperatorAddress)
		if err != nil {
			return nil, err
		}
		key, err := v.ConsPubKey()
		if err != nil {
			return nil, err
		}
		pk, ok := key.(*ed25519.PubKey)
		if !ok {
			continue
		}
		out = append(out, beacon.Voter{Operator: [20]byte(op), Consensus: [20]byte(pk.Address()), Key: [32]byte(pk.Key), Stake: v.Tokens.Uint64()})
	}
	slices.SortFunc(out, func(a, b beacon.Voter) int { return bytes.Compare(a.Operator[:], b.Operator[:]) })
	return out, nil
}

func (s stakes) Members(ctx context.Context, _ string) ([]threshold.Stakeholder, error) {
	voters, err := s.Voters(ctx, 0)
	var out []threshold.Stakeholder
	for _, v := range voters {
		out = append(out, threshold.Stakeholder{Account: v.Operator, Stake: v.Stake})
	}
	return out, err
}

func (stakes) Reshared(context.Context, string, []threshold.Stakeholder) error { return nil }
func (stakes) Failed(context.Context, string) error                            { return nil }
func (stakes) Blamed(context.Context, [20]byte, string) error                  { return nil }
func (stakes) Punish(context.Context, [20]byte, int64, string) error           { return nil }
