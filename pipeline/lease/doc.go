// Package lease shares the topics of the chains out among the workers that run them.
//
// Each worker beats one heartbeat, a key of the bucket with the broker's timestamp: who hasn't renewed it while others
// have is dead (see [Picture]). From the living workers everyone computes the same shares (rendezvous hashing,
// bounded so that nobody has more than one topic more than another). A claim per topic keeps two from reading it at
// the same time: the new owner waits until the former one has committed, folded and let go, or is dead.
//
// Safety never rests on any of this: a former owner that still works is stopped by the commit's
// compare-and-set, by the sources of the log, by the sink's journal. What leases bring is that somebody owns
// each topic, and peace. So clocks may differ, and a worker may be stopped for as long as it likes: it measures
// the time since its last confirmed heartbeat itself, by the steady clock and by that on the wall, and lets
// everything go before others take it for dead.
package lease
