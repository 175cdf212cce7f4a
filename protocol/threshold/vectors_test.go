package threshold

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"flag"
	"os"
	"testing"

	blst "github.com/supranational/blst/bindings/go"
)

var writeVectors = flag.Bool("vectors", false, "write testdata/vectors/beacon.json at the repository's root anew")

const vectorsFile = "../../testdata/vectors/beacon.json"

// vector is one number of a beacon, for other implementations to check. Bytes are in hexadecimal.
type vector struct {
	Tag       string         `json:"tag"` // domain separation tag: hash to G1, RFC 9380
	ChainID   string         `json:"chain_id"`
	Epoch     uint64         `json:"epoch"`
	Height    int64          `json:"height"`
	Message   string         `json:"message"`
	GroupKey  string         `json:"group_key"` // G2, compressed
	Threshold int            `json:"threshold"`
	Partials  []vectorOfSeat `json:"partials"`
	Signature string         `json:"signature"` // G1, compressed
	Number    string         `json:"number"`    // SHA-256 of the signature
}

type vectorOfSeat struct {
	Share     int    `json:"share"` // where the polynomial is taken
	Key       string `json:"key"`
	Signature string `json:"signature"`
}

func makeVectors(t *testing.T) []vector {
	var out []vector
	first := honest(t, equal(t, 4, 1, "a"), nil, 41)
	second := honest(t, equal(t, 5, 2, "b"), first, 42)
	for epoch, tm := range []*team{first, second} {
		for _, height := range []int64{1, 1_000_000_007} {
			e := uint64(epoch + 1)
			message := at(e, height)
			sig, err := tm.sign(message, tm.seats()...)
			must(t, err)
			key, number := tm.group.Key(), sig.Number()
			v := vector{Tag: Tag("beacon"), ChainID: testChain, Epoch: e, Height: height, Message: hex.EncodeToString(message),
				GroupKey: hex.EncodeToString(key[:]), Threshold: tm.group.Threshold, Signature: hex.EncodeToString(sig[:]), Number: hex.EncodeToString(number[:])}
			ps, err := tm.partials(message, tm.seats()...)
			must(t, err)
			for _, p := range ps {
				for i, x := range seats(tm.group.Seats).numbers(p.Seat) {
					v.Partials = append(v.Partials, vectorOfSeat{x, hex.EncodeToString(tm.group.keys[p.Seat][i].Compress()), hex.EncodeToString(p.points[i].Compress())})
				}
			}
			out = append(out, v)
		}
	}
	return out
}

// The vectors are what the code makes, and hold for BLS without any of this package.
func TestVectors(t *testing.T) {
	want, err := json.MarshalIndent(makeVectors(t), "", "  ")
	must(t, err)
	if *writeVectors {
		must(t, os.WriteFile(vectorsFile, append(want, '\n'), 0o644))
	}
	got, err := os.ReadFile(vectorsFile)
	must(t, err)
	if !bytes.Equal(bytes.TrimSpace(got), want) {
		t.Error("the file is not what the code makes")
	}
	var all []vector
	must(t, json.Unmarshal(got, &all))
	raw := func(s string) []byte {
		b, err := hex.DecodeString(s)
		must(t, err)
		return b
	}
	plain := func(key, sig, message []byte, tag string) bool {
		pk, s := new(blst.P2Affine).Uncompress(key), new(blst.P1Affine).Uncompress(sig)
		return pk != nil && s != nil && s.Verify(true, pk, true, message, []byte(tag))
	}
	for _, v := range all {
		sig := raw(v.Signature)
		if !plain(raw(v.GroupKey), sig, raw(v.Message), v.Tag) {
			t.Errorf("epoch %d, height %d: the signature does not hold", v.Epoch, v.Height)
		}
		if n := sha256.Sum256(sig); !bytes.Equal(n[:], raw(v.Number)) {
			t.Errorf("epoch %d, height %d: the number is not the signature's hash", v.Epoch, v.Height)
		}
		for _, p := range v.Partials {
			if !plain(raw(p.Key), raw(p.Signature), raw(v.Message), v.Tag) {
				t.Errorf("epoch %d, height %d: share %d does not hold", v.Epoch, v.Height, p.Share)
			}
		}
	}
}
