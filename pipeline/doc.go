// Package pipeline is the contract between the log, the stages and the sinks, and the runner that keeps it.
//
// A Stage is one pure decision about one record of one customer. A Chain is stages that run one after another
// over one profile; it is a value, the same in a worker, in a workspace's tests and in a replay.
//
// Customer runs the chain over the partitions of the log. Whoever owns a partition claims it with a commit of
// the next epoch, reads on from the position of the last one, and stores what a batch of records led to as one
// Commit: facts, what leaves the partition, the profiles and the position, by compare-and-set on the
// partition's subject. It is stored or it is not; a former owner's commit fails there. Profiles are folded into
// their bucket in the background, and commits go when they are folded, every reader has passed them and their
// Trail is stored: what stays of them as long as the log, so that a replay (pipeline/replay) can say where a run
// of the same log parts from what was stated.
//
// Relay publishes what leaves a partition, SinkReader hands the facts to a Sink, RawLog takes calls in. What
// appends to the log numbers its records (SourceSession), so that each is applied once without a window:
//
//	RAW ─► normalize ─► EVENTS ─► Customer ─► COMMITS ─┬► SinkReader ─► Sink
//	                      ▲                            └► Relay ─┬► OUTBOX ─► deliver
//	                      └────────── wake-ups ◄── WAKE ◄────────┘
//
// # Merging profiles
//
// Normalizing finds out that two profiles are one customer's, and says so in the joins of the call's event. The rest
// follows from the logs, and so it is the same in a replay: the winner's decisions wait, the loser is told, hands over
// all that it is and leaves a tombstone that forwards what still comes, and the winner takes it in, once:
//
//	winner's log   event that joins ─► announced             ┌─► transfer ─► merged, judged anew, what waited decided
//	                                      │ relay            │ relay
//	loser's log                           └─► merge ─► handed over, tombstone ─► forwards
//
// Decisions wait for five minutes of the customer's clock at most (profile.MaxAwait); what comes later is taken in all the
// same. Until then campaigns start waits and fire nothing; a flip of the half that turns out to be none of the whole fires
// nothing at all.
//
// # What profiles have shown
//
// More than half of the work per event is the broker's, and it counts messages, not bytes: so RAW holds several calls
// to a message, a commit holds a batch, and a partition begins one batch in each beat of a clock that all share: normalize's
// partitions hand on at the same time, and half a beat later the customer chain's take it all together. The broker looks up
// the subject of each confirmation: a batch's records share theirs (bus.Wave.Send) and travel through the Router as one
// message (bus.Bundle), which took a relay of ours from 0.7 of a bare one to 0.9. The consumers of
// RAW, EVENTS and COMMITS stay in one broker's memory: the file of each was made anew up to ten times a second, and the
// nodes of a cluster agreed on each delivery.
//
// What is far from the middle in a decision's delay is the garbage collector's marking, which lasts as long as there are
// pointers to follow (the queue of each subscription was half a megabyte of them, a profile that stays decoded is 25 of
// them), and what works in bursts beside it: folds and purges take turns and rest, the sink stands back while it has to wait
// for a processor, and an embedded ClickHouse gives way to the pipeline. A round takes as long however little garbage it
// finds, so less of it is fewer rounds: a partition uses the buffers of a stored commit again, normalize those of a batch.
//
// A sink that read, decoded and wrote in turn fell behind by half of a flood: it collects one batch while it writes another.
//
// Errors are instructions (Park, Refuse, RetryAfter, OutcomeUnknown): only the runner carries them out.
package pipeline
