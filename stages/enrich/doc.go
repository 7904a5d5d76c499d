// Package enrich is the first stage of the customer chain: it keeps what is known of a customer up to date,
// event by event, so that the later stages judge by it. It does no I/O and never asks the time.
//
// # What it keeps
//
//   - First and Last: the earliest and the latest time at which something occurred.
//   - Counts: how often each event happened, under the name by which rules ask for it: a track's own, "page:"
//     or "screen:" and the name of those; identify, group and alias calls count nothing.
//   - Traits: from the traits of any of the customer's events, those of a group among them. What occurred
//     last wins; of two at the same instant the larger JSON text. JSON null stays, as "said to be unset", and
//     a value of more than MaxTraitSize bytes becomes null: better unknown than out of date.
//   - Consents: what occurred last wins; of two at the same instant the withdrawal.
//   - Orders: count, revenue and purchase days of Order Completed, count and sum of Order Refunded.
//   - Scores: lifetime value and probability of being a customer still.
//
// The times that windowed rules look back at are not kept here but by the stages that ask those rules.
//
// The end of a delivery is not the customer's doing: it counts nowhere here, save for a consent that it brings.
// Historical events count like all others.
//
// # Order of arrival
//
// All but the scores is the same for any order in which the events arrive. That holds for the bounds too: of
// more than profile.MaxNames names a profile keeps the first in byte order, beside those whose count some rule
// asks for, and of more than MaxDays purchase days the latest, so that what was once dropped could never have stayed.
//
// # The amount of an order
//
// properties.revenue, else properties.total, else the sum of price times quantity (one, where it is missing)
// over properties.products; numbers and decimal strings are read, exactly. An order whose amount is absent,
// unreadable or negative counts as an order of zero. The amount of a refund is read in the same way and
// without its sign, since producers write both; a refund of which only the order's id is known counts as a
// refund of zero.
//
// # Scores
//
// Lifetime value and probability alive come from the purchase days (see enrich/clv; time in whole UTC days,
// given in weeks, spend before refunds). They are computed at each of the customer's events and every 24
// hours, and hold until the next time. The value is rounded to a hundredth of the currency's unit and the
// probability to four decimals. Who never bought has none. The daily computation ends when it has nothing
// more to tell: the value is below one unit, and the probability below one in a hundred or, before a second
// purchase day, one and no longer moving. Then both stay as last computed until the customer's next event.
package enrich
