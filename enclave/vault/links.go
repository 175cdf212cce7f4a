package vault

import (
	"crypto/sha256"
	"fmt"

	"github.com/cella-network/cella/protocol/storageproof"
)

// Links checks that a block is the one that key names and returns the distinct blocks to which it links, in order. A block that is
// the right one but can't be read as its codec says has no links.
func Links(key storageproof.BlockKey, block []byte) ([]storageproof.BlockKey, error) {
	if sha256.Sum256(block) != key.Digest {
		return nil, fmt.Errorf("it is another block than %x", key.CID())
	}
	links, err := linksOf(key.Codec, block)
	if err != nil {
		return nil, nil
	}
	return links, nil
}
