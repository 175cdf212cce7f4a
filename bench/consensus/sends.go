package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"syscall"
	"time"

	dbm "github.com/cosmos/cosmos-db"
	"github.com/spf13/viper"

	"cosmossdk.io/log/v2"

	abci "github.com/cometbft/cometbft/abci/types"

	"github.com/cosmos/cosmos-sdk/baseapp"
	"github.com/cosmos/cosmos-sdk/client/flags"
	codectypes "github.com/cosmos/cosmos-sdk/codec/types"
	"github.com/cosmos/cosmos-sdk/crypto/keys/ed25519"
	"github.com/cosmos/cosmos-sdk/crypto/keys/secp256k1"
	"github.com/cosmos/cosmos-sdk/server"
	sdk "github.com/cosmos/cosmos-sdk/types"
	"github.com/cosmos/cosmos-sdk/types/tx/signing"
	authsigning "github.com/cosmos/cosmos-sdk/x/auth/signing"
	authtypes "github.com/cosmos/cosmos-sdk/x/auth/types"
	banktypes "github.com/cosmos/cosmos-sdk/x/bank/types"

	"github.com/cella-network/cella/bench/meter"
	"github.com/cella-network/cella/bench/table"
	"github.com/cella-network/cella/chain/app"
	"github.com/cella-network/cella/chain/node"
)

const (
	sendsGoal = 0.90
	warm      = 2 // blocks before those that count: accounts have their keys then
	sendGas   = 90_000
)

var birth = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// sends is the comparison of two applications by blocks of bank sends.
type sends struct {
	dir        string
	blocks     int // of each side
	each       int // sends of a block
	validators int // all of them vote in each block, and hold the key
}

// taken is what a block used.
type taken struct {
	CPU time.Duration
	Gas int64
}

// measure has both sides, each in a process and over a database of its own, take turns block by block.
func (s sends) measure(ctx context.Context) (rows []table.Row, err error) {
	var sides [2]*apart
	for i, name := range []string{"ours", "plain"} {
		side, err := s.apart(ctx, name)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		defer func() { _ = side.end() }()
		sides[i] = side
	}
	for _, side := range sides {
		if _, err := side.read(); err != nil { // it is warm
			return nil, err
		}
	}
	var full, empty [2]taken
	for _, what := range []struct {
		words string
		out   *[2]taken
	}{{"sends", &full}, {"nothing", &empty}} {
		var all [2][]taken
		for n := range s.blocks {
			for i := range sides {
				k := (i + n) % 2 // who comes first changes
				t, err := sides[k].block(what.words)
				if err != nil {
					return nil, err
				}
				all[k] = append(all[k], t)
			}
		}
		*what.out = [2]taken{middle(all[0]), middle(all[1])}
	}
	for _, side := range sides {
		if err := side.end(); err != nil {
			return nil, err
		}
	}
	// A balance that fees are paid into has a digit more or less, by the block that is the middle one: 33 gas a send.
	if d := full[0].Gas - full[1].Gas; max(d, -d) > full[0].Gas/200 {
		return nil, fmt.Errorf("a block took %d gas here and %d there: the two sides do not do the same work", full[0].Gas, full[1].Gas)
	}
	rate := func(t taken) float64 { return float64(s.each) / t.CPU.Seconds() }
	ms := func(t taken) float64 { return t.CPU.Seconds() * 1e3 }
	what := fmt.Sprintf("bank sends, %d a block (%d%% of its gas), %d validators", s.each, 100*full[0].Gas/app.ConsensusParams().Block.MaxGas, s.validators)
	return []table.Row{
		{What: what, Ours: fmt.Sprintf("%.0f a CPU second", rate(full[0])), Beside: fmt.Sprintf("%.0f: the stock modules alone", rate(full[1])),
			Ratio: rate(full[0]) / rate(full[1]), Goal: sendsGoal},
		{What: "  a block without transactions", Ours: fmt.Sprintf("%.2f ms CPU", ms(empty[0])), Beside: fmt.Sprintf("%.2f ms", ms(empty[1]))},
	}, nil
}

func middle(all []taken) taken {
	slices.SortFunc(all, func(a, b taken) int { return cmp.Compare(a.CPU, b.CPU) })
	return all[len(all)/2]
}

// apart is a side in a process of its own. It is told to make a block and answers with what that took.
type apart struct {
	name  string
	cmd   *exec.Cmd
	tell  io.WriteCloser
	hear  *json.Decoder
	ended bool
}

func (s sends) apart(ctx context.Context, name string) (a *apart, err error) {
	a = &apart{name: name, cmd: exec.CommandContext(ctx, "/proc/self/exe", "-side", name, "-dir", s.dir, "-blocks", strconv.Itoa(s.blocks),
		"-sends", strconv.Itoa(s.each), "-validators", strconv.Itoa(s.validators))}
	a.cmd.Stderr = os.Stderr
	a.cmd.Cancel = func() error { return a.cmd.Process.Signal(syscall.SIGTERM) }
	a.cmd.WaitDelay = 10 * time.Second
	if a.tell, err = a.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := a.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	a.hear = json.NewDecoder(out)
	return a, a.cmd.Start()
}

func (a *apart) read() (t taken, err error) {
	if err := a.hear.Decode(&t); err != nil {
		return t, fmt.Errorf("%s: %w", a.name, errors.Join(err, a.end()))
	}
	return t, nil
}

func (a *apart) block(what string) (taken, error) {
	if _, err := fmt.Fprintln(a.tell, what); err != nil {
		return taken{}, fmt.Errorf("%s: %w", a.name, errors.Join(err, a.end()))
	}
	return a.read()
}

// end lets the process end and returns how it did, the first time.
func (a *apart) end() error {
	if a.ended {
		return nil
	}
	a.ended = true
	return errors.Join(a.tell.Close(), a.cmd.Wait())
}

// here is a side in this process: it makes a block for each line of in.
func (s sends) here(name string, in io.Reader, out io.Writer) (err error) {
	dir, err := os.MkdirTemp(s.dir, "bench-sends-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	f, err := s.begin(name, dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	tell := json.NewEncoder(out)
	if err := tell.Encode(taken{}); err != nil {
		return err
	}
	for lines := bufio.NewScanner(in); lines.Scan(); {
		var txs [][]byte
		if lines.Text() == "sends" {
			txs, f.blocks = f.blocks[0], f.blocks[1:]
		}
		t, err := f.block(f.machine, txs)
		if err == nil {
			err = tell.Encode(t)
		}
		if err != nil {
			return err
		}
	}
	return f.arrived(f.machine)
}

// machine is what both applications are.
type machine interface {
	LoadLatestVersion() error
	InitChain(*abci.RequestInitChain) (*abci.ResponseInitChain, error)
	FinalizeBlock(*abci.RequestFinalizeBlock) (*abci.ResponseFinalizeBlock, error)
	Commit() (*abci.ResponseCommit, error)
	Close() error
}

// feeder is an application with the blocks that it is to be fed.
type feeder struct {
	machine
	ledger
	blocks [][][]byte
}

// begin starts a side's chain and brings it to where blocks count.
func (s sends) begin(side, dir string) (f *feeder, err error) {
	f = &feeder{ledger: ledger{height: 1}}
	state, err := f.genesis(dir, s.validators, s.each)
	if err != nil {
		return nil, err
	}
	if f.machine, err = open(side, dir); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close())
		}
	}()
	params := app.ConsensusParams().ToProto()
	if _, err := f.InitChain(&abci.RequestInitChain{ChainId: chainID, Time: birth, InitialHeight: 1, ConsensusParams: &params, AppStateBytes: state}); err != nil {
		return nil, err
	}
	if a, ours := f.machine.(*app.App); ours {
		if err := f.makeKey(a); err != nil {
			return nil, fmt.Errorf("ceremony at height %d: %w", f.height, err)
		}
	}
	for range warm + s.blocks {
		txs, err := f.sends()
		if err != nil {
			return nil, err
		}
		f.blocks = append(f.blocks, txs)
	}
	f.maker = nil // what made the transactions is garbage by now
	for _, txs := range f.blocks[:warm] {
		if err := f.advance(f.machine, txs); err != nil {
			return nil, err
		}
	}
	f.blocks = f.blocks[warm:]
	runtime.GC()
	return f, f.mark()
}

// open makes an application over a database on disk, with the settings of a node.
func open(side, dir string) (machine, error) {
	if err := node.DefaultSettings().Write(dir); err != nil {
		return nil, err
	}
	options := viper.New()
	options.SetConfigFile(filepath.Join(dir, "config", "app.toml"))
	if err := options.ReadInConfig(); err != nil {
		return nil, err
	}
	options.Set(flags.FlagHome, dir)
	options.Set(flags.FlagChainID, chainID)
	db, err := dbm.NewDB("application", server.GetAppDBBackend(options), filepath.Join(dir, "data"))
	if err != nil {
		return nil, err
	}
	var m machine
	switch side {
	case "ours":
		m, err = app.New(log.NewNopLogger(), db, dir, server.DefaultBaseappOptions(options)...)
	case "plain":
		m, err = newPlain(log.NewNopLogger(), db, dir, server.DefaultBaseappOptions(options)...)
	default:
		err = fmt.Errorf("there is no side %q", side)
	}
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return m, m.LoadLatestVersion()
}

// ledger knows the accounts and makes what they send.
type ledger struct {
	maker     *app.App      // makes genesis and transactions, and executes nothing
	used      time.Duration // CPU of this process at the last mark
	height    int64
	operators []user // of the validators
	users     []user
	votes     []abci.VoteInfo
	numbers   *numbers // nil: blocks carry no numbers
}

type user struct {
	key      *secp256k1.PrivKey
	address  sdk.AccAddress
	number   uint64
	sequence uint64
}

func key(n int) *secp256k1.PrivKey {
	return secp256k1.GenPrivKeyFromSecret(binary.BigEndian.AppendUint64(nil, uint64(n)))
}

// genesis makes the state of a chain with validators and users.
func (l *ledger) genesis(dir string, validators, users int) (state json.RawMessage, err error) {
	if l.maker, err = app.New(log.NewNopLogger(), dbm.NewMemDB(), dir, baseapp.SetChainID(chainID)); err != nil {
		return nil, err
	}
	g := l.maker.DefaultGenesis()
	for i := range validators {
		operator := sdk.AccAddress(key(i).PubKey().Address())
		l.operators = append(l.operators, user{key: key(i), address: operator, number: uint64(i)})
		consensus := ed25519.GenPrivKeyFromSecret(binary.BigEndian.AppendUint64(nil, uint64(i))).PubKey()
		if err := g.Fund(operator, sdk.NewInt64Coin(app.Denom, 1e9)); err != nil {
			return nil, err
		}
		if err := g.Bond(operator, consensus, fmt.Sprintf("validator-%d", i), sdk.NewInt64Coin(app.Denom, 1e8)); err != nil {
			return nil, err
		}
		l.votes = append(l.votes, abci.VoteInfo{Validator: abci.Validator{Address: consensus.Address(), Power: 100}, BlockIdFlag: 2})
	}
	slices.SortFunc(l.votes, func(a, b abci.VoteInfo) int { return bytes.Compare(a.Validator.Address, b.Validator.Address) })
	if err := l.register(g); err != nil {
		return nil, err
	}
	var accounts authtypes.GenesisState
	var bank banktypes.GenesisState
	if err := g.Change(authtypes.ModuleName, &accounts, func() error {
		for i := range users {
			k := key(validators + i)
			u := user{key: k, address: sdk.AccAddress(k.PubKey().Address()), number: uint64(len(accounts.Accounts))}
			packed, err := codectypes.NewAnyWithValue(authtypes.NewBaseAccount(u.address, nil, u.number, 0))
			if err != nil {
				return err
			}
			accounts.Accounts, l.users = append(accounts.Accounts, packed), append(l.users, u)
		}
		return nil
	}); err != nil {
		return nil, err
	}
	if err := g.Change(banktypes.ModuleName, &bank, func() error {
		for _, u := range l.users {
			bank.Balances = append(bank.Balances, banktypes.Balance{Address: u.address.String(), Coins: sdk.NewCoins(sdk.NewInt64Coin(app.Denom, 1e9))})
		}
		return nil
	}); err != nil {
		return nil, err
	}
	doc, err := l.maker.Doc(g, chainID)
	if err != nil {
		return nil, err
	}
	return doc.AppState, nil
}

// sends are the transactions of one block: each user sends something to the next one.
func (l *ledger) sends() (txs [][]byte, err error) {
	for i := range l.users {
		tx, err := l.sign(&l.users[i], banktypes.NewMsgSend(l.users[i].address, l.users[(i+1)%len(l.users)].address, sdk.NewCoins(sdk.NewInt64Coin(app.Denom, 1000))), sendGas)
		if err != nil {
			return nil, err
		}
		txs = append(txs, tx)
	}
	return txs, nil
}

// sign makes a transaction of one signer, directly signed.
func (l *ledger) sign(u *user, msg sdk.Msg, gas uint64) ([]byte, error) {
	b := l.maker.TxConfig.NewTxBuilder()
	if err := b.SetMsgs(msg); err != nil {
		return nil, err
	}
	b.SetGasLimit(gas)
	b.SetFeeAmount(sdk.NewCoins(sdk.NewInt64Coin(app.Denom, 100)))
	sig := signing.SignatureV2{PubKey: u.key.PubKey(), Sequence: u.sequence, Data: &signing.SingleSignatureData{SignMode: signing.SignMode_SIGN_MODE_DIRECT}}
	if err := b.SetSignatures(sig); err != nil {
		return nil, err
	}
	data := authsigning.SignerData{Address: u.address.String(), ChainID: chainID, AccountNumber: u.number, Sequence: u.sequence, PubKey: u.key.PubKey()}
	toSign, err := authsigning.GetSignBytesAdapter(context.Background(), l.maker.TxConfig.SignModeHandler(), signing.SignMode_SIGN_MODE_DIRECT, data, b.GetTx())
	if err != nil {
		return nil, err
	}
	raw, err := u.key.Sign(toSign)
	if err != nil {
		return nil, err
	}
	sig.Data = &signing.SingleSignatureData{SignMode: signing.SignMode_SIGN_MODE_DIRECT, Signature: raw}
	if err := b.SetSignatures(sig); err != nil {
		return nil, err
	}
	u.sequence++
	return l.maker.TxConfig.TxEncoder()(b.GetTx())
}

// advance is a block that is not measured.
func (l *ledger) advance(m machine, txs [][]byte) error {
	_, err := l.block(m, txs)
	return err
}

// mark notes the CPU time so far: what was used before doesn't count.
func (l *ledger) mark() (err error) {
	l.used, err = meter.CPU(os.Getpid())
	return err
}

// block executes and commits the next block, of which every transaction has to succeed. It counts what this process used since the block
// before, so that what the database does in between counts, but not the making of a number, which is the validators' work.
func (l *ledger) block(m machine, txs [][]byte) (t taken, err error) {
	req := &abci.RequestFinalizeBlock{Height: l.height, Time: birth.Add(time.Duration(l.height) * time.Second), Hash: make([]byte, 32), Txs: txs,
		ProposerAddress: l.votes[int(l.height)%len(l.votes)].Validator.Address}
	binary.BigEndian.PutUint64(req.Hash, uint64(l.height))
	if l.height > 1 {
		req.DecidedLastCommit.Votes = l.votes
	}
	if l.numbers != nil && l.height > l.numbers.from {
		took, err := cpu(func() error {
			number, err := l.numbers.number(l.height)
			req.Txs = append([][]byte{number}, txs...)
			return err
		})
		if err != nil {
			return t, err
		}
		l.used += took
	}
	r, err := m.FinalizeBlock(req)
	if err == nil {
		_, err = m.Commit()
	}
	if err != nil {
		return t, fmt.Errorf("block %d: %w", l.height, err)
	}
	for i, result := range r.TxResults[len(req.Txs)-len(txs):] {
		if result.Code != 0 {
			return t, fmt.Errorf("block %d, transaction %d: %s", l.height, i, result.Log)
		}
		t.Gas += result.GasUsed
	}
	l.height++
	before := l.used
	err = l.mark()
	t.CPU = l.used - before
	return t, err
}
