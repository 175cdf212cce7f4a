package devnet

import (
	"encoding/hex"
	"fmt"
	"os/exec"
	"regexp"
	"time"

	cmttypes "github.com/cometbft/cometbft/types"

	cryptocodec "github.com/cosmos/cosmos-sdk/crypto/codec"
	sdk "github.com/cosmos/cosmos-sdk/types"
	genutiltypes "github.com/cosmos/cosmos-sdk/x/genutil/types"
	govv1 "github.com/cosmos/cosmos-sdk/x/gov/types/v1"

	"github.com/cella-network/cella/api/attest"
	"github.com/cella-network/cella/api/audit"
	"github.com/cella-network/cella/api/committee"
	"github.com/cella-network/cella/api/guarantee"
	"github.com/cella-network/cella/api/market"
	"github.com/cella-network/cella/api/work"
	"github.com/cella-network/cella/chain/app"
	"github.com/cella-network/cella/protocol/attestation"
)

// Balances and stakes of a devnet, in CELLA.
const (
	userBalance     = 10_000_000
	operatorBalance = 1_000_000
	operatorStake   = 100
)

const sectorSize = 16 << 20 // bytes

// member is a node as genesis sees it.
type member struct {
	operator  sdk.AccAddress
	consensus cmttypes.PrivValidator
}

func coins(cella int64) sdk.Coin { return sdk.NewInt64Coin(app.Denom, cella*1_000_000) }

// makeGenesis writes all members into the set of validators and gives everybody coins. measurement is nil for a chain
// without enclaves.
func makeGenesis(a *app.App, cfg Config, members []member, user sdk.AccAddress, measurement []byte) (*genutiltypes.AppGenesis, error) {
	g := a.DefaultGenesis()
	if err := g.Fund(user, coins(userBalance)); err != nil {
		return nil, err
	}
	for i, m := range members {
		key, err := m.consensus.GetPubKey()
		if err != nil {
			return nil, err
		}
		sdkKey, err := cryptocodec.FromCmtPubKeyInterface(key)
		if err != nil {
			return nil, err
		}
		if err := g.Fund(m.operator, coins(operatorBalance)); err != nil {
			return nil, err
		}
		if err := g.Bond(m.operator, sdkKey, nodeName(i), coins(operatorStake)); err != nil {
			return nil, err
		}
	}
	if err := setParams(g, members, measurement); err != nil {
		return nil, err
	}
	if cfg.Tweak != nil {
		if err := cfg.Tweak(g); err != nil {
			return nil, err
		}
	}
	return a.Doc(g, cfg.ChainID)
}

// setParams shortens everything that a person would have to wait for.
func setParams(g app.Genesis, members []member, measurement []byte) error {
	var gov govv1.GenesisState
	if err := g.Change("gov", &gov, func() error {
		voting, expedited := time.Minute, 30*time.Second
		gov.Params.VotingPeriod, gov.Params.ExpeditedVotingPeriod, gov.Params.MaxDepositPeriod = &voting, &expedited, &voting
		return nil
	}); err != nil {
		return err
	}
	var at attest.GenesisState
	if err := g.Change("attest", &at, func() error {
		p := &at.Params
		p.Devnet = true
		p.EntryStake = coins(10)
		p.Bootstrap = nil
		for _, m := range members {
			p.Bootstrap = append(p.Bootstrap, m.operator.String())
		}
		p.BootstrapNodes, p.MinEndorsers = 3, 3
		p.EndorseBlocks, p.IntentBlocks = 10, 200
		p.RegistrationBlocks, p.TrustBlocks = 604_800, 2_000
		if measurement != nil {
			// The simulator is of the high tier here, so that it may endorse: a devnet has nothing better.
			p.Measurements = []attest.Measurement{{Platform: uint32(attestation.PlatformSim), Measurement: measurement,
				Tier: uint32(attestation.TierHigh), Version: "devnet"}}
		}
		return nil
	}); err != nil {
		return err
	}
	var co committee.GenesisState
	if err := g.Change("committee", &co, func() error {
		co.Params = committee.Params{PhaseBlocks: 3, RetryBlocks: 3, Attempts: 3, ConfirmBlocks: 15, StallBlocks: 30, Repairs: 4}
		return nil
	}); err != nil {
		return err
	}
	var gu guarantee.GenesisState
	if err := g.Change("guarantee", &gu, func() error {
		// A quota of 8 sectors lets twice the stake count that each operator has here.
		gu.Params.EraBlocks, gu.Params.Rate, gu.Params.MinOwn = 100, 1_600_000_000, 10_000_000
		return nil
	}); err != nil {
		return err
	}
	var wk work.GenesisState
	if err := g.Change("work", &wk, func() error {
		wk.Params = work.Params{SlotBlocks: 5, MaxAgeBlocks: 20, LateBlocks: 40, SectorSize: sectorSize}
		return nil
	}); err != nil {
		return err
	}
	var au audit.GenesisState
	if err := g.Change("audit", &au, func() error {
		au.Params = audit.Params{PeriodBlocks: 20, AnswerBlocks: 10, VerdictBlocks: 25, Auditors: 3, PauseBlocks: 100, KeepBlocks: 10_000}
		return nil
	}); err != nil {
		return err
	}
	var mk market.GenesisState
	return g.Change("market", &mk, func() error {
		mk.Params = market.Params{DayBlocks: 86_400, MinBlocks: 20, MaxBlocks: 365 * 86_400, AcceptBlocks: 120, GraceBlocks: 10, Collateral: 10,
			MendBlocks: 20, ClearBlocks: 60, FaultFactor: 10, RepairBlocks: 60, WarnBlocks: 40, SilentBlocks: 120, AuditFaults: 5}
		return nil
	})
}

var measurementHex = regexp.MustCompile(`\b[0-9a-f]{64}\b`)

// measure asks the enclave's program for its measurement.
func measure(enclave string) ([]byte, error) {
	out, err := exec.Command(enclave, "measure").Output()
	if err != nil {
		return nil, fmt.Errorf("%s measure: %w", enclave, err)
	}
	text := measurementHex.Find(out)
	if text == nil {
		return nil, fmt.Errorf("%s measure: no measurement in %q", enclave, out)
	}
	return hex.DecodeString(string(text))
}

func nodeName(i int) string { return fmt.Sprintf("node%d", i) }

// Steady changes a genesis so that the stake of all operators counts from the first block on, and goes on counting while faults keep them from
// proving: for whoever breaks nodes and still has to know which of them can make blocks together.
func Steady(g app.Genesis) error {
	var at attest.GenesisState
	if err := g.Change("attest", &at, func() error { return nil }); err != nil {
		return err
	}
	var gu guarantee.GenesisState
	return g.Change("guarantee", &gu, func() error {
		const limit = 2 * operatorStake * 1_000_000
		gu.Params.GraceEras = 1000
		for _, operator := range at.Params.Bootstrap {
			gu.Nodes = append(gu.Nodes, guarantee.GenesisNode{Operator: operator, Node: guarantee.Node{Storage: guarantee.Storage{Limit: limit, Base: limit}}})
		}
		return nil
	})
}
