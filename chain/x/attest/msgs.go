package attest

import (
	"context"

	sdk "github.com/cosmos/cosmos-sdk/types"

	api "github.com/cella-network/cella/api/attest"
	"github.com/cella-network/cella/protocol/attestation"
)

// Limits of the addresses at which a node's content can be fetched.
const (
	maxAddrs = 16
	maxAddr  = 256 // bytes
)

// msgServer answers the module's messages.
type msgServer struct{ *Keeper }

var _ api.MsgServer = msgServer{}

func (k msgServer) Announce(ctx context.Context, msg *api.MsgAnnounce) (*api.MsgAnnounceResponse, error) {
	operator, err := k.operator(msg.Operator)
	if err != nil {
		return nil, err
	}
	if err := checkAddrs(msg.Addrs); err != nil {
		return nil, err
	}
	if k.bank.BlockedAddr(operator) {
		return nil, ErrRefused.Wrapf("%s can't take its stake back", msg.Operator)
	}
	p, err := k.params.Get(ctx)
	if err != nil {
		return nil, err
	}
	v, err := k.judge(ctx, p, operator, msg.Registration, msg.SigM)
	if err != nil {
		return nil, err
	}
	if err := k.lock(ctx, p, operator, msg.Operator); err != nil {
		return nil, err
	}
	enough, err := k.canEndorse(ctx, operator, p.MinEndorsers)
	if err != nil {
		return nil, err
	}
	if !enough {
		if err := k.removeIntent(ctx, operator); err != nil {
			return nil, err
		}
		return &api.MsgAnnounceResponse{Registered: true}, k.admit(ctx, p, v, "", msg.Addrs)
	}
	if err := k.restarted(ctx, v.r); err != nil {
		return nil, err
	}
	in, info, waiting, err := k.intent(ctx, operator)
	if err != nil {
		return nil, err
	}
	now := sdk.UnwrapSDKContext(ctx).BlockHeight()
	if !waiting {
		in = attestation.Intent{Account: v.r.Account, Announced: now}
	}
	// An enclave that was restarted while it waited brings new keys to the same intent: neither the endorser nor the time
	// left may be chosen anew by announcing again.
	in.Registration = v.r.Hash()
	info.Registration, info.SigM, info.Addrs = msg.Registration, msg.SigM, msg.Addrs
	if err := k.setIntent(ctx, in, info); err != nil {
		return nil, err
	}
	if !waiting {
		if err := k.put(ctx, operator, now+1); err != nil {
			return nil, err
		}
	}
	return &api.MsgAnnounceResponse{}, k.emit(ctx, &api.EventAnnounced{Operator: msg.Operator, Registration: in.Registration[:]})
}

func (k msgServer) Register(ctx context.Context, msg *api.MsgRegister) (*api.MsgRegisterResponse, error) {
	operator, err := k.operator(msg.Operator)
	if err != nil {
		return nil, err
	}
	endorser, err := k.operator(msg.Endorser)
	if err != nil {
		return nil, err
	}
	if len(msg.SigV) != 64 || len(msg.SigMv) != 64 {
		return nil, ErrRefused.Wrapf("signatures of %d and %d bytes, want 64", len(msg.SigV), len(msg.SigMv))
	}
	p, err := k.params.Get(ctx)
	if err != nil {
		return nil, err
	}
	in, info, waiting, err := k.intent(ctx, operator)
	if err != nil {
		return nil, err
	}
	if !waiting {
		return nil, ErrRefused.Wrapf("%s announced no join", msg.Operator)
	}
	v, err := k.judge(ctx, p, operator, msg.Registration, msg.SigM)
	if err != nil {
		return nil, err
	}
	if err := in.CheckDrawn(v.r, attestation.Account(endorser)); err != nil {
		return nil, refused(err)
	}
	by, active, err := k.Active(ctx, attestation.Account(endorser))
	if err != nil {
		return nil, err
	}
	if !active || by.Tier != attestation.TierHigh {
		return nil, ErrRefused.Wrapf("%s is not an active node of the high tier", msg.Endorser)
	}
	q := attestation.Quadruple{R: v.r, SigM: [64]byte(msg.SigM), Endorser: attestation.Account(endorser),
		SigV: [64]byte(msg.SigV), SigMV: [64]byte(msg.SigMv)}
	if err := q.VerifyEndorsed(by.SignKey); err != nil {
		return nil, refused(err)
	}
	if err := k.removeIntent(ctx, operator); err != nil {
		return nil, err
	}
	return &api.MsgRegisterResponse{}, k.admit(ctx, p, v, msg.Endorser, info.Addrs)
}

func (k msgServer) SetAddrs(ctx context.Context, msg *api.MsgSetAddrs) (*api.MsgSetAddrsResponse, error) {
	operator, err := k.operator(msg.Operator)
	if err != nil {
		return nil, err
	}
	if err := checkAddrs(msg.Addrs); err != nil {
		return nil, err
	}
	info, err := k.nodeInfos.Get(ctx, operator)
	if err != nil {
		return nil, ErrRefused.Wrapf("%s has no registration", msg.Operator)
	}
	info.Addrs = msg.Addrs
	return &api.MsgSetAddrsResponse{}, k.nodeInfos.Set(ctx, operator, info)
}

func (k msgServer) Leave(ctx context.Context, msg *api.MsgLeave) (*api.MsgLeaveResponse, error) {
	operator, err := k.operator(msg.Operator)
	if err != nil {
		return nil, err
	}
	n, ok, err := k.node(ctx, operator)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, ErrRefused.Wrapf("%s has no registration", msg.Operator)
	}
	if _, _, waiting, err := k.intent(ctx, operator); err != nil {
		return nil, err
	} else if waiting {
		// Else leaving and announcing again would choose another endorser.
		return nil, ErrRefused.Wrap("a join is under way; leave when it is done or over")
	}
	holds, err := k.replicas.Holds(ctx, operator)
	if err != nil {
		return nil, err
	}
	if holds {
		return nil, ErrRefused.Wrapf("%s holds replicas of orders", msg.Operator)
	}
	info, err := k.nodeInfo(ctx, operator)
	if err != nil {
		return nil, err
	}
	if err := k.deactivate(ctx, n, info); err != nil {
		return nil, err
	}
	if err := k.nodes.Remove(ctx, operator); err != nil {
		return nil, err
	}
	if err := k.nodeInfos.Remove(ctx, operator); err != nil {
		return nil, err
	}
	if err := k.release(ctx, operator, "left"); err != nil {
		return nil, err
	}
	return &api.MsgLeaveResponse{}, k.inactive(ctx, operator, "left")
}

func (k msgServer) UpdateParams(ctx context.Context, msg *api.MsgUpdateParams) (*api.MsgUpdateParamsResponse, error) {
	if msg.Authority != k.authority {
		return nil, ErrRefused.Wrapf("params are changed by %s", k.authority)
	}
	before, err := k.params.Get(ctx)
	if err != nil {
		return nil, err
	}
	if msg.Params.Devnet != before.Devnet {
		return nil, ErrRefused.Wrap("a chain is a devnet from genesis or never")
	}
	if err := k.validateParams(msg.Params); err != nil {
		return nil, refused(err)
	}
	return &api.MsgUpdateParamsResponse{}, k.params.Set(ctx, msg.Params)
}

// operator reads an address that can be a node's account. It has one spelling: bech32 knows capitals as well, and lists
// that hold texts would take an account written in both for two.
func (k *Keeper) operator(text string) (sdk.AccAddress, error) {
	b, err := k.addresses.StringToBytes(text)
	if err != nil || len(b) != len(attestation.Account{}) {
		return nil, ErrRefused.Wrapf("%q is not an operator's address", text)
	}
	if canonical, err := k.addresses.BytesToString(b); err != nil || canonical != text {
		return nil, ErrRefused.Wrapf("%q is not how this chain writes that address", text)
	}
	return b, nil
}

// restarted takes the account's node off the endorsers if it announces other keys than the node has: that enclave is gone
// and would only be drawn to be silent. Where all nodes restart at once, the last ones find too few endorsers left, are
// admitted by the chain's own verdict and endorse the others. Until a new registration lands the record stays.
func (k *Keeper) restarted(ctx context.Context, r attestation.Registration) error {
	n, ok, err := k.node(ctx, r.Account[:])
	if err != nil || !ok || n.SignKey == r.SignKey {
		return err
	}
	info, err := k.nodeInfo(ctx, r.Account[:])
	if err != nil {
		return err
	}
	info.Restarted = true
	if err := k.unseat(ctx, r.Account[:]); err != nil {
		return err
	}
	return k.nodeInfos.Set(ctx, r.Account[:], info)
}

// checkAddrs bounds the places where a node's content can be fetched. Whether they can be dialled is for those who dial;
// here they only must be short printable text that begins like a multiaddr.
func checkAddrs(addrs []string) error {
	if len(addrs) > maxAddrs {
		return ErrRefused.Wrapf("%d addresses, at most %d", len(addrs), maxAddrs)
	}
	for _, a := range addrs {
		if len(a) < 2 || len(a) > maxAddr || a[0] != '/' {
			return ErrRefused.Wrapf("address of %d bytes, want a multiaddr of at most %d", len(a), maxAddr)
		}
		for i := range len(a) {
			if a[i] <= ' ' || a[i] > '~' {
				return ErrRefused.Wrapf("address has the byte %#x", a[i])
			}
		}
	}
	return nil
}
