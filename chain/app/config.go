package app

import (
	"os"
	"path/filepath"
	"time"

	cmttypes "github.com/cometbft/cometbft/types"

	sdk "github.com/cosmos/cosmos-sdk/types"
	banktypes "github.com/cosmos/cosmos-sdk/x/bank/types"
)

const (
	// Name is the name of the program and of the application that it reports over ABCI.
	Name = "cella"
	// Prefix starts every account address.
	Prefix = "cella"
	// Denom is the base unit of the coin, 10^-6 CELLA. It is staked, paid and burned; there is no other.
	Denom = "ucella"
	// MinGasPrice is what a node asks for a unit of gas unless its operator says otherwise.
	MinGasPrice = "0.001" + Denom

	// unbonding is how long stake stays punishable after it left. Evidence is admissible for as long, and light clients
	// must trust a header for less.
	unbonding = 21 * 24 * time.Hour

	// maxOperators is how many may be bonded: all who may be elected, and slashed. How many make blocks is guarantee's to say.
	maxOperators = 1000

	maxBlockBytes = 4 << 20
	maxBlockGas   = 100_000_000
)

// The SDK formats addresses and default coins by process-wide settings. They are set when this package is loaded, so that
// nothing that links the application can print an address of another chain.
func init() {
	c := sdk.GetConfig()
	c.SetBech32PrefixForAccount(Prefix, Prefix+"pub")
	c.SetBech32PrefixForValidator(Prefix+"valoper", Prefix+"valoperpub")
	c.SetBech32PrefixForConsensusNode(Prefix+"valcons", Prefix+"valconspub")
	c.SetPurpose(44)
	c.SetCoinType(118)
	sdk.DefaultBondDenom = Denom
}

// DefaultHome is where a node lives unless told otherwise: $CELLA_HOME, or .cella in the user's home.
func DefaultHome() string {
	if h := os.Getenv("CELLA_HOME"); h != "" {
		return h
	}
	h, err := os.UserHomeDir()
	if err != nil {
		return ".cella"
	}
	return filepath.Join(h, ".cella")
}

// ConsensusParams are the limits that a new chain starts with.
func ConsensusParams() *cmttypes.ConsensusParams {
	p := cmttypes.DefaultConsensusParams()
	p.Block.MaxBytes = maxBlockBytes
	p.Block.MaxGas = maxBlockGas
	p.Evidence.MaxAgeDuration = unbonding
	p.Evidence.MaxAgeNumBlocks = int64(unbonding / time.Second) // a block a second: both must pass before evidence is stale
	p.Evidence.MaxBytes = 256 << 10
	p.ABCI.VoteExtensionsEnableHeight = 1
	return p
}

// metadata tells wallets how to show the coin.
var metadata = banktypes.Metadata{
	Description: "The coin of the Cella network: stake, fees and pay for storage.",
	DenomUnits: []*banktypes.DenomUnit{
		{Denom: Denom, Exponent: 0, Aliases: []string{"microcella"}},
		{Denom: "CELLA", Exponent: 6},
	},
	Base:    Denom,
	Display: "CELLA",
	Name:    "Cella",
	Symbol:  "CELLA",
}
