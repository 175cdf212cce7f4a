package client

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"

	"github.com/cosmos/cosmos-sdk/types/query"
	"github.com/ipfs/go-cid"

	"github.com/cella-network/cella/api/moderation"
	"github.com/cella-network/cella/content/denylist"
)

// Denylist is a deny list as the chain has it.
type Denylist struct {
	Publisher string `json:"publisher"`
	Name      string `json:"name"`
	Sequence  uint64 `json:"sequence"` // of its versions
	SHA256    string `json:"sha256"`   // of the file, in hexadecimal digits
	Root      string `json:"root"`     // CID of the file
	Size      uint64 `json:"size"`     // bytes of the file
	Height    int64  `json:"height"`   // block that took this version
	Deposit   uint64 `json:"deposit"`  // ucella that come back when it is withdrawn
}

func denylistOf(l moderation.List) (Denylist, error) {
	root, err := cid.Cast(l.Cid)
	if err != nil || l.Deposit.Amount.IsNil() || !l.Deposit.Amount.IsUint64() {
		return Denylist{}, &Error{Kind: KindNetwork, What: fmt.Sprintf("list %s/%s: the node's answer makes no sense", l.Publisher, l.Name), Cause: err}
	}
	return Denylist{Publisher: l.Publisher, Name: l.Name, Sequence: l.Sequence, SHA256: hex.EncodeToString(l.Sha256), Root: root.String(), Size: l.Size_,
		Height: l.Height, Deposit: l.Deposit.Amount.Uint64()}, nil
}

// Denylists are the published deny lists, of one account or, with an empty publisher, of all.
func (c *Client) Denylists(ctx context.Context, publisher string) ([]Denylist, error) {
	var all []Denylist
	err := pages(func(page *query.PageRequest) (*query.PageResponse, error) {
		r, err := c.chain.Moderation.Lists(ctx, &moderation.QueryListsRequest{Publisher: publisher, Pagination: page})
		if err != nil {
			return nil, err
		}
		for _, l := range r.Lists {
			d, err := denylistOf(l)
			if err != nil {
				return nil, err
			}
			all = append(all, d)
		}
		return r.Pagination, nil
	})
	return all, err
}

// PublishRequest says which file becomes the deny list Name of the account, and how it is stored.
type PublishRequest struct {
	Path     string // .deny file in the compact format
	Name     string
	Replicas uint32
	Days     uint32
	Price    uint64 // as in PutRequest
}

// PublishResult is a published list.
type PublishResult struct {
	Denylist
	Rules     int                // lines that deny or allow a block
	Passed    int                // lines that do neither here
	Skipped   []denylist.Skipped // the first of them
	Unchanged bool               // this very version stood on the chain already
}

// PublishDenylist stores the file on the network and puts its hash on chain. Interrupted and run again it goes on where it was; run again
// later with the same file it only keeps the file stored.
func (c *Client) PublishDenylist(ctx context.Context, req PublishRequest) (PublishResult, error) {
	var out PublishResult
	file, err := os.ReadFile(req.Path)
	if err != nil {
		return out, wrap(KindUsage, "deny list", err)
	}
	list, err := denylist.Parse(file)
	if err != nil {
		return out, wrap(KindUsage, req.Path+" is no deny list", err)
	}
	out.Rules, out.Passed, out.Skipped = list.Rules, list.Passed, list.Skipped
	if list.Rules == 0 {
		return out, &Error{Kind: KindUsage, What: req.Path + " has no rule for any block", Hint: "a line such as /ipfs/CID denies one; cella moderation withdraw ends a list"}
	}
	p, err := c.chain.Moderation.Params(ctx, &moderation.QueryParamsRequest{})
	if err != nil {
		return out, err
	}
	if uint64(len(file)) > p.Params.MaxSize {
		return out, &Error{Kind: KindUsage, What: fmt.Sprintf("%s has %d bytes, a list may have %d", req.Path, len(file), p.Params.MaxSize)}
	}
	root, err := c.putCopy(ctx, req, file)
	if err != nil {
		return out, err
	}
	hash := sha256.Sum256(file)
	query := &moderation.QueryListRequest{Publisher: c.opts.Account.Address, Name: req.Name}
	before, err := c.chain.Moderation.List(ctx, query)
	switch {
	case absent(err):
		before = &moderation.QueryListResponse{}
	case err != nil:
		return out, err
	case bytes.Equal(before.List.Sha256, hash[:]) && bytes.Equal(before.List.Cid, root.Bytes()):
		out.Unchanged = true
		out.Denylist, err = denylistOf(before.List)
		return out, err
	}
	_, err = c.opts.Account.Post(ctx, &moderation.MsgPublish{Publisher: c.opts.Account.Address, Name: req.Name, Sequence: before.List.Sequence + 1,
		Sha256: hash[:], Cid: root.Bytes(), Size_: uint64(len(file))})
	if err != nil {
		return out, wrap(KindRefused, "publishing the list", err)
	}
	now, err := c.chain.Moderation.List(ctx, query)
	if err != nil {
		return out, err
	}
	out.Denylist, err = denylistOf(now.List)
	return out, err
}

// putCopy puts the bytes that were checked and hashed, whatever becomes of their file meanwhile.
func (c *Client) putCopy(ctx context.Context, req PublishRequest, file []byte) (cid.Cid, error) {
	dir, err := os.MkdirTemp("", "cella-list-*")
	if err != nil {
		return cid.Undef, wrap(KindLocal, "copy of the list", err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "list.deny")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		return cid.Undef, wrap(KindLocal, "copy of the list", err)
	}
	res, err := c.Put(ctx, PutRequest{Path: path, Name: req.Name + ".deny", Replicas: req.Replicas, Days: req.Days, Price: req.Price})
	if err != nil {
		return cid.Undef, err
	}
	root, err := cid.Decode(res.Root)
	return root, wrap(KindLocal, "root of the list", err)
}

// WithdrawDenylist ends a list of the account and returns its deposit in ucella. The order that stores the file goes on.
func (c *Client) WithdrawDenylist(ctx context.Context, name string) (uint64, error) {
	r, err := c.chain.Moderation.List(ctx, &moderation.QueryListRequest{Publisher: c.opts.Account.Address, Name: name})
	if absent(err) {
		return 0, &Error{Kind: KindNotFound, What: fmt.Sprintf("%s has no list %q", c.opts.Account.Address, name), Hint: "cella moderation list shows what is published"}
	}
	if err != nil {
		return 0, err
	}
	l, err := denylistOf(r.List)
	if err != nil {
		return 0, err
	}
	_, err = c.opts.Account.Post(ctx, &moderation.MsgWithdraw{Publisher: c.opts.Account.Address, Name: name})
	return l.Deposit, wrap(KindRefused, "withdrawing the list", err)
}
