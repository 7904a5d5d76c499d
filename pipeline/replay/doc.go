// Package replay runs the log again and compares what it states now with what was stated when it ran first.
//
// The log is the only input: the same records give the same facts, byte for byte. A replay applies the records of
// a partition one after another, from the start or from a State, with the chain that the control records bring
// into force, and knows nothing of batches, caches, folding or takeovers. What it compares with:
//
//   - the commits, where they still lie in COMMITS.<p>: each record's facts, byte for byte;
//   - the trail of those that are purged, in TRAIL.<p>: a checksum for each record that stated facts;
//   - the running hash at the end of each commit and trail, which leaves no room for chance.
//
// A record that is missing in the log, because it was erased or has aged out, is no difference: it is counted. The
// hash can't be computed over it where its commit is gone; it goes on from the next one that is kept, and every
// other record is compared by its own checksum all the same.
//
// Memory holds the encoded profiles of one partition; everything else is read as it is needed.
package replay
