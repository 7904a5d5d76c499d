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
// A user id belongs to one profile for good. An anonymous id belongs to the profile that was seen with it
// last. A user id seen for the first time takes over the anonymous profile it came with, unless that already
// belongs to another user. Profiles are not merged: what an anonymous visitor did before a known user signed
// in on that device stays with the anonymous profile. An alias is a new name for a known customer: a user id
// seen for the first time takes over the profile of its previousId even where that belongs to the previous
// user id, and a previousId that is no user's is an anonymous id seen with the user.
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
// personal_fields. With strict, that list is turned around: what is neither personal nor open (open_fields, and the fields
// of Segment's ecommerce spec) stays behind, its name and members included, and is kept nowhere. What a field that was
// declared open holds is the installation's word: nothing looks into texts.
package normalize
