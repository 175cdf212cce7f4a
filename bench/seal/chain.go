package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"cosmossdk.io/log/v2"
	"github.com/cometbft/cometbft/crypto/ed25519"
	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"
	cmtversion "github.com/cometbft/cometbft/proto/tendermint/version"
	"github.com/cometbft/cometbft/types"
	dbm "github.com/cosmos/cosmos-db"
	"github.com/cosmos/cosmos-sdk/store/v2/rootmulti"
	storetypes "github.com/cosmos/cosmos-sdk/store/v2/types"

	"github.com/cella-network/cella/enclave/wire"
	"github.com/cella-network/cella/protocol/storageproof"
)

const chainID = "bench"

// firstRequests are what makes an enclave begin an empty vault: a trust root of a chain with one validator, and the proof
// that this chain knows no report of the account.
func firstRequests() (*wire.Init, *wire.RestoreBegin, error) {
	account := [20]byte{1}
	store := rootmulti.NewStore(dbm.NewMemDB(), log.NewNopLogger())
	work := storetypes.NewKVStoreKey(storageproof.StoreName)
	store.MountStoreWithDB(work, storetypes.StoreTypeIAVL, nil)
	if err := store.LoadLatestVersion(); err != nil {
		return nil, nil, err
	}
	store.GetKVStore(work).Set([]byte{0xff}, []byte("in an empty store nothing can be proven"))
	root, err := header(store.Commit().Hash) // the state after block 1 is in header 2
	if err != nil {
		return nil, nil, err
	}
	root.Account, root.SectorSize = account, sectorSize

	res, err := store.Query(&storetypes.RequestQuery{Path: "/" + storageproof.StoreName + "/key", Data: storageproof.StandingKey(account), Height: 1, Prove: true})
	if err != nil {
		return nil, nil, err
	}
	if res.ProofOps == nil || len(res.ProofOps.Ops) != 2 {
		return nil, nil, errors.New("no proof of absence")
	}
	return root, &wire.RestoreBegin{Standing: wire.Proof{Height: 1, Store: res.ProofOps.Ops[0].Data, Root: res.ProofOps.Ops[1].Data}}, nil
}

// header is the second block's, signed.
func header(appHash []byte) (*wire.Init, error) {
	sum := func(s string) []byte { h := sha256.Sum256([]byte(s)); return h[:] }
	key := ed25519.GenPrivKeyFromSecret([]byte("validator"))
	set := types.NewValidatorSet([]*types.Validator{types.NewValidator(key.PubKey(), 10)})
	parts := types.PartSetHeader{Total: 1, Hash: sum("parts")}
	h := &types.Header{
		Version: cmtversion.Consensus{Block: 11}, ChainID: chainID, Height: 2, Time: time.Unix(1_700_000_000, 0).UTC(),
		LastBlockID: types.BlockID{Hash: sum("block 1"), PartSetHeader: parts}, LastCommitHash: sum("commit"), DataHash: sum("data"),
		ValidatorsHash: set.Hash(), NextValidatorsHash: set.Hash(), ConsensusHash: sum("params"), AppHash: appHash,
		LastResultsHash: sum("results"), EvidenceHash: sum("evidence"), ProposerAddress: key.PubKey().Address(),
	}
	id := types.BlockID{Hash: h.Hash(), PartSetHeader: parts}
	vote := types.Vote{Type: cmtproto.PrecommitType, Height: 2, BlockID: id, Timestamp: h.Time, ValidatorAddress: key.PubKey().Address()}
	sig, err := key.Sign(types.VoteSignBytes(chainID, vote.ToProto()))
	if err != nil {
		return nil, err
	}
	commit := &types.Commit{Height: 2, BlockID: id, Signatures: []types.CommitSig{{
		BlockIDFlag: types.BlockIDFlagCommit, ValidatorAddress: vote.ValidatorAddress, Timestamp: h.Time, Signature: sig}}}
	validators, err := set.ToProto()
	if err != nil {
		return nil, err
	}
	var encoded [3][]byte
	for i, m := range []interface{ Marshal() ([]byte, error) }{h.ToProto(), commit.ToProto(), validators} {
		if encoded[i], err = m.Marshal(); err != nil {
			return nil, fmt.Errorf("encode the trust root: %w", err)
		}
	}
	return &wire.Init{ChainID: chainID, Platform: sum("fuse"), Header: encoded[0], Commit: encoded[1], Validators: encoded[2]}, nil
}
