package app

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/cosmos/gogoproto/proto"

	"cosmossdk.io/math"

	"github.com/cosmos/cosmos-sdk/codec"
	codectypes "github.com/cosmos/cosmos-sdk/codec/types"
	cryptotypes "github.com/cosmos/cosmos-sdk/crypto/types"
	sdk "github.com/cosmos/cosmos-sdk/types"
	authtypes "github.com/cosmos/cosmos-sdk/x/auth/types"
	"github.com/cosmos/cosmos-sdk/x/bank"
	banktypes "github.com/cosmos/cosmos-sdk/x/bank/types"
	genutiltypes "github.com/cosmos/cosmos-sdk/x/genutil/types"
	"github.com/cosmos/cosmos-sdk/x/slashing"
	slashingtypes "github.com/cosmos/cosmos-sdk/x/slashing/types"
	"github.com/cosmos/cosmos-sdk/x/staking"
	stakingtypes "github.com/cosmos/cosmos-sdk/x/staking/types"
)

// The stock modules with the defaults of this chain, which `cella chain init` writes.
type (
	bankDefaults     struct{ bank.AppModuleBasic }
	stakingDefaults  struct{ staking.AppModuleBasic }
	slashingDefaults struct{ slashing.AppModuleBasic }
)

func (bankDefaults) DefaultGenesis(cdc codec.JSONCodec) json.RawMessage {
	g := banktypes.DefaultGenesisState()
	g.DenomMetadata = []banktypes.Metadata{metadata}
	return cdc.MustMarshalJSON(g)
}

func (stakingDefaults) DefaultGenesis(cdc codec.JSONCodec) json.RawMessage {
	g := stakingtypes.DefaultGenesisState()
	g.Params.UnbondingTime = unbonding
	g.Params.MaxValidators = maxOperators
	g.Params.HistoricalEntries = 0 // IBC, which reads them, is not part of this chain yet; x/staking's sets are not CometBFT's
	return cdc.MustMarshalJSON(g)
}

// A validator is jailed after it missed 95% of some three hours at a block a second: the SDK's defaults allow it a minute.
func (slashingDefaults) DefaultGenesis(cdc codec.JSONCodec) json.RawMessage {
	g := slashingtypes.DefaultGenesisState()
	g.Params.SignedBlocksWindow = 10_000
	g.Params.MinSignedPerWindow = math.LegacyNewDecWithPrec(5, 2)
	g.Params.SlashFractionDowntime = math.LegacyNewDecWithPrec(1, 4)
	return cdc.MustMarshalJSON(g)
}

// Genesis is the state that a chain starts with: one JSON document a module.
type Genesis struct {
	Codec   codec.Codec
	Modules map[string]json.RawMessage
}

// DefaultGenesis is the state of a chain without accounts or validators: one coin, of which
// x/guarantee alone makes more: each era's pool.
func (a *App) DefaultGenesis() Genesis {
	return Genesis{Codec: a.Codec, Modules: a.basics.DefaultGenesis(a.Codec)}
}

// Change decodes a module's state into state, lets change edit it and encodes it again.
func (g Genesis) Change(module string, state proto.Message, change func() error) error {
	if err := g.Codec.UnmarshalJSON(g.Modules[module], state); err != nil {
		return fmt.Errorf("genesis of %s: %w", module, err)
	}
	if err := change(); err != nil {
		return fmt.Errorf("genesis of %s: %w", module, err)
	}
	b, err := g.Codec.MarshalJSON(state)
	if err != nil {
		return fmt.Errorf("genesis of %s: %w", module, err)
	}
	g.Modules[module] = b
	return nil
}

// Fund adds an account with coins.
func (g Genesis) Fund(account sdk.AccAddress, amount sdk.Coin) error {
	var auth authtypes.GenesisState
	err := g.Change(authtypes.ModuleName, &auth, func() error {
		packed, err := codectypes.NewAnyWithValue(authtypes.NewBaseAccount(account, nil, uint64(len(auth.Accounts)), 0))
		auth.Accounts = append(auth.Accounts, packed)
		return err
	})
	if err != nil {
		return err
	}
	return g.credit(account, amount)
}

// credit adds coins to an account that exists, or that a module makes at start. The supply is summed at start.
func (g Genesis) credit(account sdk.AccAddress, amount sdk.Coin) error {
	var bank banktypes.GenesisState
	return g.Change(banktypes.ModuleName, &bank, func() error {
		for i, b := range bank.Balances {
			if b.Address == account.String() {
				bank.Balances[i].Coins = b.Coins.Add(amount)
				return nil
			}
		}
		bank.Balances = append(bank.Balances, banktypes.Balance{Address: account.String(), Coins: sdk.NewCoins(amount)})
		return nil
	})
}

// Bond adds a validator with a stake of its own, beside the coins that its operator has.
func (g Genesis) Bond(operator sdk.AccAddress, consensus cryptotypes.PubKey, moniker string, stake sdk.Coin) error {
	packed, err := codectypes.NewAnyWithValue(consensus)
	if err != nil {
		return err
	}
	validator, shares := sdk.ValAddress(operator).String(), math.LegacyNewDecFromInt(stake.Amount)
	var staked stakingtypes.GenesisState
	if err := g.Change(stakingtypes.ModuleName, &staked, func() error {
		staked.Validators = append(staked.Validators, stakingtypes.Validator{
			OperatorAddress: validator, ConsensusPubkey: packed, Status: stakingtypes.Bonded, Tokens: stake.Amount,
			DelegatorShares: shares, Description: stakingtypes.Description{Moniker: moniker}, UnbondingTime: time.Unix(0, 0).UTC(),
			Commission:        stakingtypes.NewCommission(math.LegacyNewDecWithPrec(5, 2), math.LegacyOneDec(), math.LegacyOneDec()),
			MinSelfDelegation: math.OneInt(),
		})
		staked.Delegations = append(staked.Delegations, stakingtypes.NewDelegation(operator.String(), validator, shares))
		return nil
	}); err != nil {
		return err
	}
	var slashed slashingtypes.GenesisState
	if err := g.Change(slashingtypes.ModuleName, &slashed, func() error {
		address := sdk.ConsAddress(consensus.Address())
		slashed.SigningInfos = append(slashed.SigningInfos, slashingtypes.SigningInfo{Address: address.String(),
			ValidatorSigningInfo: slashingtypes.NewValidatorSigningInfo(address, 0, 0, time.Unix(0, 0).UTC(), false, 0)})
		return nil
	}); err != nil {
		return err
	}
	return g.credit(authtypes.NewModuleAddress(stakingtypes.BondedPoolName), stake)
}

// Doc checks the state and makes the genesis file of a chain that starts now.
func (a *App) Doc(g Genesis, chainID string) (*genutiltypes.AppGenesis, error) {
	if err := a.basics.ValidateGenesis(a.Codec, a.TxConfig, g.Modules); err != nil {
		return nil, err
	}
	raw, err := json.MarshalIndent(g.Modules, "", " ")
	if err != nil {
		return nil, err
	}
	doc := genutiltypes.NewAppGenesisWithVersion(chainID, raw)
	doc.GenesisTime = time.Now().UTC()
	doc.Consensus = &genutiltypes.ConsensusGenesis{Params: ConsensusParams()}
	return doc, doc.ValidateAndComplete()
}
