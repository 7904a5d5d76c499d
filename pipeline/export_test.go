package pipeline

// Point is a place at which a test may let a worker die.
type Point = point

// The points that tests name; Points is how many there are.
const (
	ClaimBegun    = claimBegun
	TailRead      = tailRead
	ProfilesRead  = profilesRead
	BatchComputed = batchComputed
	CommitEncoded = commitEncoded
	CommitSent    = commitSent
	CommitStored  = commitStored
	CommitNoted   = commitNoted
	FoldBegun     = foldBegun
	PurgeBegun    = purgeBegun
	RangeWritten  = rangeWritten
	FirstOfSink   = rangeCollected
	Points        = points
)

// FailAt asks strike at every point.
func (c *CustomerConfig) FailAt(strike func(Point) error) { c.faults = strike }

// FailAt asks strike at every point.
func (c *SinkConfig) FailAt(strike func(Point) error) { c.faults = strike }
