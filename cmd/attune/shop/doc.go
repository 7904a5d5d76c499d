// Package shop is a small online shop with simulated customers, for `attune dev`. It is an ordinary producer: it
// sends what its customers do to any Segment-compatible HTTP API, in batches, with a write key, and knows nothing of
// what becomes of it.
//
// Customers come by themselves and one after another: they look at a few products, mostly of one category, put some
// into their cart, and then most leave. Some sign up on the way, say yes or no to email or nothing at all, subscribe
// to the newsletter, buy, come back later (on the same device, or on another one where they sign in again), finish
// the cart they left, or unsubscribe. Visitors are anonymous until they sign up or sign in.
//
// # Pace
//
// The shop makes exactly Rate events a second, whoever they come from. A customer pauses between two steps as people
// do, 1 to 6 seconds; a new one arrives whenever nobody else is due, so the number of visitors follows the rate by
// itself: about 15 at a time at the default rate. From the first product in a cart to the order a buyer takes less
// than 20 seconds, and who leaves a cart stays away for at least 45. The first four customers are scripted: within
// six seconds at the default rate, two known customers with consent have left a cart behind.
//
// # What repeats
//
// Who comes and what they do is a function of the seed alone. Ids and addresses also hold the instant at which the
// run began, since a message id that was used before would be dropped as a repeat. Addresses are in the reserved
// domain .example: no mail can reach anyone.
package shop
