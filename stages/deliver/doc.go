// Package deliver carries out deliveries: it fills personal fields from the vault, renders, sends through a
// destination and records the outcome.
//
// # Once
//
// A delivery is known by its decision id. Before an attempt its record says "attempting"; after it, the
// outcome. Each attempt has a token of its own, so that nobody takes another one's for theirs. So a repeat from the log finds the outcome and sends nothing, and what a crash leaves behind is an
// attempt whose end nobody saw: the destination's policy decides whether it is held (the default: at most one
// mail, perhaps none) or resent (at least one mail, perhaps two with the same Message-ID). The same holds when
// a destination breaks the connection between taking the message and answering.
//
// Several mails are sent at the same time. A stop of the process lets those under way get their answer.
//
// Temporary failures are tried again, at first after short pauses and then from the end of the destination's
// queue, so that one mailbox never holds up the others, until the delivery is too late.
//
// Every end (accepted, dropped, bounced, unknown) goes back to RAW as a call of type delivery: the customer's
// log knows it, analysts see it, and what the decision reserved is released.
package deliver
