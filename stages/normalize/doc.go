// Package normalize turns calls as producers sent them into events of the log: it maps and validates them,
// drops repeats, finds the customer, moves personal fields to the vault and parks what it can't use.
//
// # Times
//
// `accepted` is what ingest stamped, or the broker's timestamp. `occurred` is the call's timestamp, corrected
// by Segment's rule where the request said when it was sent: accepted - (sentAt - timestamp). What claims to
// have occurred after it was accepted occurred when it was accepted; by more than max_future (24h) it is parked. What is
// accepted more than max_late (7 days) after it occurred is historical, as an import is: it changes state at the time at
// which it occurred, fires nothing and arms nothing in the past. What occurred before 1970 is parked.
//
// # Repeats
//
// An event id is claimed by the call in RAW that came first; the claim names the profile that it went to and has a
// fingerprint of its content. Another call with that id and the same content is a repeat: dropped and counted. With other content it is
// parked, and its dead letter says whose the id is. The call itself is no repeat and goes to the same partition again,
// so a crash between the claim and the log loses nothing.
//
// # Identity
//
// A user id belongs to one customer for good. An anonymous id belongs to the customer that was seen with it
// last. A user id seen for the first time takes over the anonymous profile it came with, unless that already
// belongs to another user. An alias is a new name for a known customer: a user id seen for the first time takes
// over the profile of its previousId even where that belongs to the previous user id, and a previousId that is
// no user's is an anonymous id seen with the user.
//
// An id of letters in any case and an @ is an address: as a user id it takes the normal form of one before it is
// hashed, so that Ada@Shop.example and ada@shop.example are one customer. All other ids are taken as they are
// written. Ids that programs write who have none to give (null, undefined, 0, 00000000-0000-…, anonymous, test and
// the like, in any case) are nobody's: the call is as if it had none, and is parked where it has no other.
//
// # Merging
//
// Two profiles become one when any call, an identify, a track or another, has a user id that leads to one of them
// and an anonymous id that leads to the other, which belongs to no user: what a visitor did before they signed in
// is theirs. Two known users become one only by an alias of the one's user id to the other's; a device that both
// use does not do it, and goes from hand to hand. The profile whose first call was accepted earlier takes in the
// other; all ids of both lead to it from then on, and personal fields are in its entry of the vault.
//
// Within 24 hours of its calls' `accepted` a profile takes in at most MaxMerges (50) others, those that they had
// taken in included. Beyond that the two stay apart, with the reason too_many_merges in ClickHouse's
// profile_merges; the anonymous id follows the user all the same. Of the ids of a profile the latest 200 are kept;
// those beyond go on leading to the profile that was merged, which forwards what comes.
//
// How the profiles' contents become one: package pipeline.
//
// # One form
//
// Addresses, phone numbers, countries, locales and currencies take the normal form of pipeline/normal, in the vault
// and before they are hashed; what has none stays as it is written. So the hash of an address does not depend on its
// case. Phone numbers without country code need the installation's phone_region.
//
// # What goes on
//
// Traits and properties without their personal fields, for which keyed hashes stand in, and of the context
// the campaign, locale, timezone and page path. Everything else of the context stays behind.
//
// Which fields are personal is known by their names: the default list of package vault and the installation's
// personal_fields; the name of a customer, user, contact or other person is, that of a product is not. A text that is an
// e-mail address as a whole is personal whatever its field is called, unless open_fields has it; so are a user id, a group
// id and an event's or a page's name that are one, and an id that is a phone number with its country code.
//
// Of a longer text, in the same places, in fields' names and in event ids, only the addresses are replaced, each by the
// hash that it has elsewhere, and kept nowhere: https://shop.example/?email=ann%40shop.example goes on as
// https://shop.example/?email=hash:bkkY_w…. They are found percent-encoded too, as normal.WithoutAddresses says. Other
// personal values inside longer texts, names and phone numbers for example, are not found: only strict keeps them behind.
//
// With strict, that list is turned around: what is neither personal nor open (open_fields, and the fields of Segment's
// ecommerce spec) stays behind, its name and members included, and is kept nowhere. What a field that was declared open
// holds is the installation's word.
package normalize
