// Package wallet describes a network to the wallets of the Cosmos ecosystem: chain.json and assetlist.json in the format of the chain
// registry (https://github.com/cosmos/chain-registry). Beside it lies a suite that uses an unmodified wallet library with them.
package wallet

import (
	"context"
	"encoding/json"
	"fmt"

	authtypes "github.com/cosmos/cosmos-sdk/x/auth/types"
	banktypes "github.com/cosmos/cosmos-sdk/x/bank/types"

	"github.com/cella-network/cella/api/attest"
	"github.com/cella-network/cella/client"
)

// coinType is the SLIP-44 number from which wallets derive keys: Cosmos's own.
const coinType = 118

// APIs are where a network can be reached; empty ones are left out.
type APIs struct{ RPC, REST, GRPC string }

// Chain is chain.json.
type Chain struct {
	Schema       string    `json:"$schema"`
	ChainType    string    `json:"chain_type"`
	ChainName    string    `json:"chain_name"`
	ChainID      string    `json:"chain_id"`
	PrettyName   string    `json:"pretty_name"`
	Status       string    `json:"status"`
	NetworkType  string    `json:"network_type"`
	Bech32Prefix string    `json:"bech32_prefix"`
	DaemonName   string    `json:"daemon_name"`
	NodeHome     string    `json:"node_home"`
	KeyAlgos     []string  `json:"key_algos"`
	Slip44       int       `json:"slip44"`
	Fees         Fees      `json:"fees"`
	Staking      Staking   `json:"staking"`
	APIs         Endpoints `json:"apis"`
}

// Fees are what wallets offer for a unit of gas.
type Fees struct {
	FeeTokens []FeeToken `json:"fee_tokens"`
}

// FeeToken is the price of a unit of gas in one coin, as decimal numbers.
type FeeToken struct {
	Denom            string      `json:"denom"`
	FixedMinGasPrice json.Number `json:"fixed_min_gas_price"`
	LowGasPrice      json.Number `json:"low_gas_price"`
	AverageGasPrice  json.Number `json:"average_gas_price"`
	HighGasPrice     json.Number `json:"high_gas_price"`
}

// Staking names the coins that are staked.
type Staking struct {
	StakingTokens []Token `json:"staking_tokens"`
}

// Token names a coin.
type Token struct {
	Denom string `json:"denom"`
}

// Endpoints are APIs as the registry lists them.
type Endpoints struct {
	RPC  []Endpoint `json:"rpc,omitempty"`
	REST []Endpoint `json:"rest,omitempty"`
	GRPC []Endpoint `json:"grpc,omitempty"`
}

// Endpoint is one of them.
type Endpoint struct {
	Address string `json:"address"`
}

// Assets is assetlist.json.
type Assets struct {
	Schema    string  `json:"$schema"`
	ChainName string  `json:"chain_name"`
	Assets    []Asset `json:"assets"`
}

// Asset is a coin.
type Asset struct {
	Description string      `json:"description"`
	DenomUnits  []DenomUnit `json:"denom_units"`
	Base        string      `json:"base"`
	Display     string      `json:"display"`
	Name        string      `json:"name"`
	Symbol      string      `json:"symbol"`
	TypeAsset   string      `json:"type_asset"`
}

// DenomUnit is a unit of a coin, 10^Exponent of its base.
type DenomUnit struct {
	Denom    string   `json:"denom"`
	Exponent uint32   `json:"exponent"`
	Aliases  []string `json:"aliases,omitempty"`
}

// Describe asks a network about itself, so that no figure is written twice.
func Describe(ctx context.Context, chain *client.Chain, apis APIs) (Chain, Assets, error) {
	prefix, err := chain.Auth.Bech32Prefix(ctx, &authtypes.Bech32PrefixRequest{})
	if err != nil {
		return Chain{}, Assets{}, err
	}
	params, err := chain.Attest.Params(ctx, &attest.QueryParamsRequest{})
	if err != nil {
		return Chain{}, Assets{}, err
	}
	meta, err := chain.Bank.DenomMetadata(ctx, &banktypes.QueryDenomMetadataRequest{Denom: client.Denom})
	if err != nil {
		return Chain{}, Assets{}, err
	}
	price, err := chain.GasPrice(ctx)
	if err != nil {
		return Chain{}, Assets{}, err
	}
	if len(price) != 1 || price[0].Denom != client.Denom {
		return Chain{}, Assets{}, fmt.Errorf("gas price %q is not in %s alone", price, client.Denom)
	}
	name, network := "cella", "mainnet"
	if params.Params.Devnet {
		name, network = "celladevnet", "devnet"
	}
	times := func(tenths int64) json.Number {
		d := price[0].Amount.MulInt64(tenths).QuoInt64(10)
		return json.Number(trimDecimal(d.String()))
	}
	least := times(10)
	c := Chain{
		Schema:       "../chain.schema.json",
		ChainType:    "cosmos",
		ChainName:    name,
		ChainID:      chain.ID,
		PrettyName:   "Cella",
		Status:       "live",
		NetworkType:  network,
		Bech32Prefix: prefix.Bech32Prefix,
		DaemonName:   "cella",
		NodeHome:     "$HOME/.cella",
		KeyAlgos:     []string{"secp256k1"},
		Slip44:       coinType,
		Fees: Fees{FeeTokens: []FeeToken{{Denom: client.Denom, FixedMinGasPrice: least, LowGasPrice: least,
			AverageGasPrice: times(15), HighGasPrice: times(30)}}},
		Staking: Staking{StakingTokens: []Token{{Denom: client.Denom}}},
		APIs:    Endpoints{RPC: endpoints(apis.RPC), REST: endpoints(apis.REST), GRPC: endpoints(apis.GRPC)},
	}
	m := meta.Metadata
	a := Asset{Description: m.Description, Base: m.Base, Display: m.Display, Name: m.Name, Symbol: m.Symbol, TypeAsset: "sdk.coin"}
	for _, u := range m.DenomUnits {
		a.DenomUnits = append(a.DenomUnits, DenomUnit{Denom: u.Denom, Exponent: u.Exponent, Aliases: u.Aliases})
	}
	return c, Assets{Schema: "../assetlist.schema.json", ChainName: name, Assets: []Asset{a}}, nil
}

func endpoints(address string) []Endpoint {
	if address == "" {
		return nil
	}
	return []Endpoint{{Address: address}}
}

// trimDecimal drops the zeros that a fixed number of decimals leaves.
func trimDecimal(s string) string {
	i := len(s)
	for i > 0 && s[i-1] == '0' {
		i--
	}
	if i > 0 && s[i-1] == '.' {
		i--
	}
	return s[:i]
}
