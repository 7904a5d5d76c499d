// Package deliver carries out deliveries: it fills personal fields from the vault, renders, sends through a
// destination and records the outcome.
//
// # Once
//
// A delivery is known by its decision id. Before an attempt its record says "attempting"; after it, the
// outcome. Each attempt has a token of its own, so that nobody takes another one's for theirs. So a repeat from
// the log finds the outcome and sends nothing, and what a crash leaves behind is an attempt whose end nobody saw:
// the destination's policy decides whether it is held (the default: at most one mail, perhaps none) or resent (at
// least one mail, perhaps two with the same Message-ID). The same holds when a destination breaks the connection
// between taking the message and answering.
//
// Several mails are sent at the same time. A stop of the process lets those under way get their answer.
//
// Temporary failures are tried again until the delivery is too late: at first after short pauses, then at ever longer
// ones in which the delivery stays where it is in the destination's queue and the others pass it. So one mailbox never
// holds up the others, in a full queue neither.
//
// Every end (accepted, dropped, bounced, unknown) goes back to RAW as a call of type delivery: the customer's
// log knows it, analysts see it, and what the decision reserved is released.
package deliver
