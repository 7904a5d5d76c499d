package pipeline

// point is a place between two steps of the protocol at which a process may die: whoever takes over must come to
// the same end. The table is in the order of a worker's life.
type point int

const (
	claimBegun       point = iota // nothing is known of the partition
	claimRead                     // the last commit is read, the claim not stored
	claimStored                   // the claim is stored, the tail not read
	tailRead                      // one commit of the tail is taken over
	claimed                       // the tail is read, nothing runs yet
	profilesRead                  // a batch's profiles are in memory
	batchComputed                 // its records are applied, nothing is encoded
	commitEncoded                 // the commit is encoded, its profiles are pinned
	commitSent                    // it is sent, its confirmation not here
	commitStored                  // it is confirmed, which nobody has noted
	commitNoted                   // it is noted, its input not acknowledged
	inputAcked                    // its input is acknowledged
	trailBegun                    // a trail is about to be stored
	trailStored                   // it is stored, which nobody has noted
	foldBegun                     // profiles are about to be written to the bucket
	foldWritten                   // they are written, which nobody has noted
	foldConflicted                // some were refused, the bucket's copies not read
	foldResolved                  // the copies are read, nothing is written over them
	foldNoted                     // the folds are noted
	purgeBegun                    // commits that nobody needs are about to go
	purged                        // they are gone, which nobody has noted
	outputsSent                   // what leaves the partition is sent, its confirmations not here
	outputsConfirmed              // it is confirmed, the commit not acknowledged
	outputsAcked                  // the commit is acknowledged
	rangeCollected                // the sink has a batch, which is not journalled
	rangeJournalled               // it is journalled, not written
	rangeWritten                  // it is written, not acknowledged
	rangeAcked                    // it is acknowledged

	points // how many there are
)

func (p point) String() string {
	return [...]string{
		claimBegun: "claim begun", claimRead: "claim read", claimStored: "claim stored", tailRead: "tail read", claimed: "claimed",
		profilesRead: "profiles read", batchComputed: "batch computed", commitEncoded: "commit encoded", commitSent: "commit sent",
		commitStored: "commit stored", commitNoted: "commit noted", inputAcked: "input acked",
		trailBegun: "trail begun", trailStored: "trail stored",
		foldBegun: "fold begun", foldWritten: "fold written", foldConflicted: "fold conflicted", foldResolved: "fold resolved",
		foldNoted: "fold noted", purgeBegun: "purge begun", purged: "purged",
		outputsSent: "outputs sent", outputsConfirmed: "outputs confirmed", outputsAcked: "outputs acked",
		rangeCollected: "range collected", rangeJournalled: "range journalled", rangeWritten: "range written", rangeAcked: "range acked",
	}[p]
}

// faults is how a test stands at every point: the step after it fails with what it returns. It is nil in
// production, which costs a comparison.
type faults func(point) error

func (f faults) at(p point) error {
	if f == nil {
		return nil
	}
	return f(p)
}
