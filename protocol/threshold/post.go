package threshold

// What one transaction brings of a ceremony or repair at the most, so that it fits into a block whatever the group is. A deal of the largest
// group has 41 kB.
const (
	MaxPosted      = 16
	MaxPostedBytes = 64 << 10 // of all its messages together
)

// What a message's check takes, in terms of a commitment that are evaluated: a few microseconds each.
const (
	termsPosted  = 30_500 // of all messages of one transaction
	termsMessage = 500    // beside those of the commitment: signature, proof and pairing
)

// Posted is how many messages of a phase of a ceremony the holder of so many shares should bring at once. Complaints and readiness are short,
// but all of the holder's shares are held against a commitment each time.
func Posted(phase Phase, threshold, shares int) int {
	if phase < PhaseComplain {
		return MaxPosted
	}
	return max(1, min(MaxPosted, termsPosted/(termsMessage+threshold*shares)))
}
