// Package enrich is the first stage of the customer chain: it keeps what is known of a customer up to date,
// event by event, so that the later stages judge by it. It does no I/O and never asks the time.
//
// # What it keeps
//
//   - First and Last: the earliest and the latest time at which something occurred.
//   - Activities: how often each event happened, what its events were worth together, and the first and the latest
//     time, under the name by which rules ask for it: a track's own, "page:" or "screen:" and the name of those;
//     identify, group and alias calls count nothing.
//   - Traits: from the traits of any of the customer's events, those of a group among them. What occurred
//     last wins; of two at the same instant the larger JSON text. JSON null stays, as "said to be unset", and
//     a value of more than MaxTraitSize bytes becomes null: better unknown than out of date.
//   - Consents: what occurred last wins; of two at the same instant the withdrawal.
//   - Orders: count, revenue and purchase days of Order Completed, count, sum and days of Order Refunded, and the
//     same sums by the currency that the orders name.
//   - Viewed: the products last looked at (Product Viewed), by product_id or else sku; Bought: those last bought.
//   - Cart: what Product Added put in and Product Removed took out since the latest order.
//   - Leanings: what the customer prefers, see below.
//   - Zone: the time zone in the context's timezone, or else in the trait of that name; what was said last wins.
//   - Standing: stage of life and loyalty tier, see below.
//   - Scores: lifetime value and probability of being a customer still.
//   - Propensities: how likely the customer does what the workspace names, see below.
//
// The times that windowed rules look back at are not kept here but by the stages that ask those rules.
//
// The end of a delivery is not the customer's doing: it counts nowhere here, save for a consent that it brings.
// Historical events count like all others.
//
// # Order of arrival
//
// All but the scores and the standing, which are of the customer's clock, is the same for any order in which the events
// arrive: the leanings to nine digits, since their sums are floating, and all else exactly. That holds for the bounds
// too, since what was once dropped could never have stayed: of more than profile.MaxNames names a profile keeps the
// first in byte order, beside those whose count some rule asks for; of more than profile.MaxDays purchase days,
// MaxViewed and MaxBought products and MaxCart changes of the cart the latest; of more than MaxCurrencies currencies the first; of more
// than MaxLeanings names in a dimension those with the lowest hashes, and the weight of the others stays in the total.
//
// # What an event is worth
//
// An order and a refund as below; any other track properties.revenue, else total, else value, else price times quantity.
// What is absent, unreadable or negative is nothing.
//
// # Leanings
//
// Each sign of what a customer likes has a weight, which halves every 30 days (profile.HalfLife): 1 for a Product Viewed
// or Product List Viewed (of that its category only), 3 for a Product Added or Product Added to Wishlist, 5 for each
// product of an Order Completed, or for the order itself where it names none. It counts for the product's category, its
// brand and the band of its price. An order counts 1 for discounted, where it or one of its products has a coupon or a
// discount, else for full price. Each track, page and screen counts 1 for the hour (UTC) in which it occurred, and an
// Email Link Clicked 5; other events of mail and refunds count nothing there, since they are not the customer's doing.
// The style group is the strongest category; its confidence is its weight in that of all categories and 5 more. This is
// what "psychographic" comes to here: shares of behaviour, and nothing that was guessed about a person.
//
// # Stage of life
//
// Who never ordered is a visitor. From the first order on a customer is new for new_days (30); then active until the
// latest order is at_risk_days (90) ago, at_risk until it is lapsed_days (180) ago, and lapsed from then on. All bounds
// are half open, and in days of 24 hours.
//
// # Loyalty tier
//
// The last line of the workspace's table whose demands are all met: spent, without what was refunded, and days with a
// purchase. With window_days only so many days count, in UTC and with today as the last; so a tier ends at a midnight. A
// refund counts on the day on which it occurred.
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
// hours, and hold until the next time. The value is rounded to a hundredth of the currency's unit, the
// probability and the value's confidence (clv.Model.Confidence) to four decimals. Who never bought has none. The daily computation ends when it has nothing
// more to tell: the value is below one unit, and the probability below one in a hundred or, before a second
// purchase day, one and no longer moving. Then all stay as last computed until the customer's next event.
//
// # Propensities
//
// What the workspace names (an event, and a horizon) is foretold by a model that was trained for just that and is in
// force; see enrich/propensity and Features. It is computed at each of the customer's events and, where some rule asks for
// a propensity, at those daily ticks after it at which time alone moves a feature into another bin of the model: between
// two of them a computation would give the same, and the last bin ends it. Probability and confidence have four decimals.
package enrich
