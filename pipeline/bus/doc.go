// Package bus lets Watermill's Router work on JetStream in order and in batches: one Watermill message is one
// record, one message of a topic is handed over at a time, and what a batch of them did is confirmed and
// acknowledged together. Where that costs too much, one Watermill message is a whole batch (SubscriberConfig.Whole),
// and what its handler hands on is a Bundle of records.
//
// Subscriber claims a topic (a Session), reads it with a Puller and hands its messages over; Publisher adds what
// handlers produce to their session's Wave, which waits once for all of the broker's confirmations. Order per
// topic is kept through failures: a Nack hands the same message over again, and a lost session reads on from
// what was committed or acknowledged.
//
// It passes Watermill's own conformance suite for ordered, persistent Pub/Subs with consumer groups.
package bus
