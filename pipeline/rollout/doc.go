// Package rollout brings changed definitions into force for customers who are there already.
//
// Definitions that lead to other memberships are staged first, by a control record (pipeline.KindStaged). One worker
// then prepares every customer, by records of the log (event.Prepare), and puts the definitions in force by another
// control record when all are prepared: see pipeline/staged.go for what the chain makes of them. The log is the only
// input of the chain, so a replay comes to the same. The steps:
//
//  1. reading: where the new rules look back at what profiles don't hold (a longer window, another event, a higher
//     count), the log is read from the earliest instant that may count, and what they need of it is appended for each
//     customer; a profile that went on in another one sends its own on. What the log has lost to age comes from
//     wherever else events are kept (Config.Older), in the order of their positions; what is not kept there either stays
//     unknown.
//  2. preparing: every profile that existed when the definitions were staged gets a record that has it judged. They are
//     found in the profiles' bucket, and those that are not folded yet in the commits above the mark.
//  3. switching: the control record, to every partition, with one instant for all.
//  4. settling: who is in another segment now, and had no record since, gets one, so that the flips are stated soon.
//
// Records are appended at a bounded rate, and none while the log is full. Whoever dies on the way is followed by
// another worker, which begins the step again: what a customer has taken already changes nothing a second time. A
// worker that goes on though another one has begun is told by its epoch, which the records' ordinals carry, and ignored.
package rollout
