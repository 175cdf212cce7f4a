package committee

import (
	"context"
	"crypto/ed25519"
	"errors"

	"cosmossdk.io/collections"

	storetypes "github.com/cosmos/cosmos-sdk/store/v2/types"
	sdk "github.com/cosmos/cosmos-sdk/types"

	api "github.com/cella-network/cella/api/committee"
	"github.com/cella-network/cella/protocol/threshold"
)

const (
	// maxRepairGas is what a message of a repair may take: with what is paid for the transaction beside it, and what wallets ask for above
	// what they simulated, it stays below a transaction's limit.
	maxRepairGas = 14_000_000

	// Bytes of a helper's message.
	repairHead  = 200
	repairBlind = 48 // kept in twice as many
	repairPart  = 32 // sealed

	// A millisecond of work costs about 100 000, so that a full block of these messages is a second of it. The store is free beside that.
	gasMessage = 50_000  // signature and proof
	gasPerByte = 150     // points to read and check, and what is stored
	gasPerSeat = 2_000   // keys of the ceremony, read once for each transaction
	gasPerOld  = 2       // a byte of a ceremony or repair that is read and written
	gasPairing = 150_000 // keys in G2 held against commitments in G1
	gasPerTerm = 400     // of a commitment that is evaluated: threshold times shares
	gasPerLost = 10_000  // share that is repaired: its commitment, beside the products in it
	gasProduct = 8_000   // of a helper's commitment and a coefficient: one for each lost share
	gasPerPair = 5       // of shares whose difference is a factor of a coefficient: a repair's are made anew for each transaction
	gasAsk     = 200_000
)

// msgServer answers the module's messages. They pay for work before it is done.
type msgServer struct{ *Keeper }

var _ api.MsgServer = msgServer{}

func (k msgServer) Post(ctx context.Context, msg *api.MsgPost) (*api.MsgPostResponse, error) {
	meter := sdk.UnwrapSDKContext(ctx).GasMeter()
	from, key, err := k.sender(ctx, msg.Member, msg.Messages)
	if err != nil {
		return nil, err
	}
	ctx = free(ctx)
	p, going, err := k.going(ctx, msg.Purpose)
	if err != nil {
		return nil, err
	}
	if !going {
		return &api.MsgPostResponse{}, k.late(ctx, meter, msg.Purpose, from, key, msg.Messages)
	}
	s := p.Ceremony.Setup
	meter.ConsumeGas(gasPerSeat*uint64(len(s.Seats))+gasPerOld*uint64(len(p.State)), "a ceremony")
	text, err := k.text(from)
	if err != nil {
		return nil, err
	}
	each := uint64(gasMessage)
	if p.Ceremony.Phase == name(threshold.PhaseComplain) || p.Ceremony.Phase == name(threshold.PhaseReady) {
		each += gasPairing + gasPerTerm*uint64(s.Threshold)*sharesOf(s.Seats, text)
	}
	r, err := k.load(ctx, msg.Purpose, p)
	if err != nil {
		return nil, err
	}
	if err := takeAny(msg.Messages, func(m api.Signed) error {
		meter.ConsumeGas(each+gasPerByte*uint64(len(m.Message)), "a message of a ceremony")
		if err := verify(ctx, from, key, m); err != nil {
			return err
		}
		return k.accept(ctx, r, from, m.Message)
	}); err != nil {
		return nil, err
	}
	return &api.MsgPostResponse{}, k.save(ctx, r)
}

// takeAny takes those messages that fit. One that does not takes no other with it: the first of two complaints about a dealer is enough
// to throw it out, and deals that came twice must not keep out the rest.
func takeAny(messages []api.Signed, take func(api.Signed) error) error {
	var first error
	taken := 0
	for _, m := range messages {
		switch err := take(m); {
		case err == nil:
			taken++
		case !errors.Is(err, ErrRefused):
			return err
		case first == nil:
			first = err
		}
	}
	if taken == 0 {
		return first
	}
	return nil
}

// late takes the keys of a seat that was silent while the ceremony went on, or was repaired.
func (k msgServer) late(ctx context.Context, meter storetypes.GasMeter, purpose string, from [20]byte, key ed25519.PublicKey, messages []api.Signed) error {
	if len(messages) != 1 {
		return ErrRefused.Wrapf("no ceremony for %q goes on: want one message, with a seat's keys", purpose)
	}
	charge, ok, err := k.charge(ctx, purpose)
	if err != nil {
		return err
	}
	if !ok {
		return ErrRefused.Wrapf("there is no ceremony and no group for %q", purpose)
	}
	encoded, err := k.groups.Get(ctx, collections.Join(purpose, charge.Group[:]))
	if err != nil {
		return err
	}
	meter.ConsumeGas(gasMessage+gasPairing+gasPerByte*uint64(len(encoded)+len(messages[0].Message)), "keys of a seat")
	if err := verify(ctx, from, key, messages[0]); err != nil {
		return err
	}
	return k.admit(ctx, purpose, charge, encoded, from, messages[0].Message)
}

func (k msgServer) AskRepair(ctx context.Context, msg *api.MsgAskRepair) (*api.MsgAskRepairResponse, error) {
	sdk.UnwrapSDKContext(ctx).GasMeter().ConsumeGas(gasAsk, "a repair")
	from, err := k.member(msg.Member)
	if err != nil {
		return nil, err
	}
	if _, err := k.active(ctx, from); err != nil {
		return nil, err
	}
	return &api.MsgAskRepairResponse{}, k.ask(free(ctx), msg.Purpose, from, msg.Epoch)
}

func (k msgServer) PostRepair(ctx context.Context, msg *api.MsgPostRepair) (*api.MsgPostRepairResponse, error) {
	meter := sdk.UnwrapSDKContext(ctx).GasMeter()
	from, key, err := k.sender(ctx, msg.Member, msg.Messages)
	if err != nil {
		return nil, err
	}
	account, err := k.member(msg.Account)
	if err != nil {
		return nil, err
	}
	ctx = free(ctx)
	kept, err := k.repairs.Get(ctx, collections.Join(msg.Purpose, account[:]))
	if errors.Is(err, collections.ErrNotFound) {
		return nil, ErrRefused.Wrapf("no repair of %s goes on", msg.Account)
	}
	if err != nil {
		return nil, err
	}
	if over(kept.Phase) {
		if kept.Phase != name(threshold.PhaseDone) || from != account {
			return nil, ErrRefused.Wrapf("the repair of %s is over: %s", msg.Account, kept.Phase)
		}
		return &api.MsgPostRepairResponse{}, k.late(ctx, meter, msg.Purpose, from, key, msg.Messages)
	}
	each, err := k.repairGas(ctx, meter, msg.Purpose, account, kept)
	if err != nil {
		return nil, err
	}
	f, err := k.loadRepair(ctx, msg.Purpose, account, kept)
	if err != nil {
		return nil, err
	}
	if err := takeAny(msg.Messages, func(m api.Signed) error {
		meter.ConsumeGas(each+gasPerByte*uint64(len(m.Message)), "a message of a repair")
		if err := verify(ctx, from, key, m); err != nil {
			return err
		}
		return k.acceptRepair(ctx, f, from, m.Message)
	}); err != nil {
		return nil, err
	}
	return &api.MsgPostRepairResponse{}, k.saveRepair(ctx, f)
}

// repairGas takes what reading a repair costs, and says what each message does beside its bytes.
func (k msgServer) repairGas(ctx context.Context, meter storetypes.GasMeter, purpose string, account [20]byte, kept api.Repair) (uint64, error) {
	charge, _, err := k.charge(ctx, purpose)
	if err != nil {
		return 0, err
	}
	g, err := k.group(ctx, purpose, charge.Group)
	if err != nil {
		return 0, err
	}
	state, err := k.repairStates.Get(ctx, collections.Join(purpose, account[:]))
	if err != nil {
		return 0, err
	}
	read, each := repairCost(g, int(kept.Seat), kept.Phase, len(state))
	meter.ConsumeGas(read, "a repair")
	return each, nil
}

// repairable says whether each message of a repair fits into a transaction, whoever helps.
func (k *Keeper) repairable(g *threshold.Group, seat int) bool {
	blinds, lost := g.Blinds(seat), g.Seats[seat].Shares
	contribution := repairHead + (len(g.Seats)-1)*lost*repairBlind + lost*repairPart
	if blinds > k.blinds || contribution > threshold.MaxPostedBytes {
		return false
	}
	state := 2*repairBlind*blinds + len(g.Seats)*(repairHead+lost*repairPart)
	for _, m := range []struct {
		phase threshold.Phase
		bytes int
	}{{threshold.PhaseDeal, contribution}, {threshold.PhaseComplain, 2 * repairHead}} {
		if read, each := repairCost(g, seat, name(m.phase), state); read+each+gasPerByte*uint64(m.bytes) > maxRepairGas {
			return false
		}
	}
	return true
}

// repairCost is what reading a repair takes, and what each message for it does beside its bytes.
func repairCost(g *threshold.Group, seat int, phase string, state int) (read, each uint64) {
	read, each = gasPerSeat*uint64(len(g.Seats))+gasPerOld*uint64(state), gasMessage
	lost := g.Seats[seat].Shares
	if phase != name(threshold.PhaseKeys) {
		read += gasPerPair * uint64(g.Threshold*g.Threshold*lost)
	}
	if phase == name(threshold.PhaseComplain) {
		most := 0
		for _, s := range g.Seats {
			most = max(most, s.Shares)
		}
		each += gasPerTerm*uint64(g.Threshold*most) + uint64(lost)*(gasPerLost+gasOfSum(most))
	}
	return read, each
}

// gasOfSum is what a sum of products takes. Many are added up together for less.
func gasOfSum(products int) uint64 {
	return min(gasProduct*uint64(products), 170_000+1_000*uint64(products))
}

func (k msgServer) UpdateParams(ctx context.Context, msg *api.MsgUpdateParams) (*api.MsgUpdateParamsResponse, error) {
	if msg.Authority != k.authority {
		return nil, ErrRefused.Wrapf("params are changed by %s", k.authority)
	}
	if err := validateParams(msg.Params); err != nil {
		return nil, refused(err)
	}
	return &api.MsgUpdateParamsResponse{}, k.params.Set(ctx, msg.Params)
}

// sender checks the size of what a member brings, and gives the key of its enclave.
func (k msgServer) sender(ctx context.Context, member string, messages []api.Signed) (from [20]byte, key ed25519.PublicKey, err error) {
	if from, err = k.member(member); err != nil {
		return from, nil, err
	}
	if len(messages) == 0 || len(messages) > threshold.MaxPosted {
		return from, nil, ErrRefused.Wrapf("%d messages, want 1 to %d", len(messages), threshold.MaxPosted)
	}
	room := threshold.MaxPostedBytes
	for _, m := range messages {
		if len(m.Message) > room || len(m.Signature) != ed25519.SignatureSize {
			return from, nil, ErrRefused.Wrapf("message of %d bytes with a signature of %d, want at most %d and %d",
				len(m.Message), len(m.Signature), room, ed25519.SignatureSize)
		}
		room -= len(m.Message)
	}
	key, err = k.active(ctx, from)
	return from, key, err
}

// active gives the key of the enclave that an account has registered.
func (k msgServer) active(ctx context.Context, account [20]byte) (ed25519.PublicKey, error) {
	n, ok, err := k.holder(ctx, account)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, ErrRefused.Wrap("the account has no active enclave of the high tier: join first, on a platform that may hold keys")
	}
	return n.SignKey[:], nil
}

// verify holds a message against the key of the member's enclave.
func verify(ctx context.Context, from [20]byte, key ed25519.PublicKey, m api.Signed) error {
	if !ed25519.Verify(key, threshold.PostStatement(sdk.UnwrapSDKContext(ctx).ChainID(), from, m.Message), m.Signature) {
		return ErrRefused.Wrap("the message is not signed by the enclave that is registered for the member")
	}
	return nil
}

func sharesOf(seats []api.Seat, account string) uint64 {
	for _, s := range seats {
		if s.Account == account {
			return uint64(s.Shares)
		}
	}
	return 0
}
