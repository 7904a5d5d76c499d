// Package trigger is the last stage of the customer chain: it runs the campaigns. A campaign is triggered by
// an event or by the entering or leaving of a segment, waits where it is told to, and is then judged once: it
// fires, and a mail is ordered, or it is suppressed with the reason. It does no I/O and never asks the time.
//
// # Triggering
//
// on.event is triggered by an event of that name (page:NAME and screen:NAME are those of pages and screens) for
// which on.where, a rule about the event alone, holds; on.segment_entered and on.segment_exited by a flip of
// that membership because of an event or of time, or of definitions that were put in force so that campaigns fire.
// What is historical triggers nothing.
//
// Without a wait the campaign is judged in the same step. With one, the profile holds a wait until exactly
// wait after the step's clock: one per campaign and key, the text of the event's property at the path key. The
// same key again restarts the wait with the newest event, since a cart is abandoned after its last addition.
// Events without a readable key share one wait. A profile holds at most MaxWaits waits and MaxWaitBytes of
// their events' properties; beyond that the oldest are suppressed (too_many_waits).
//
// # Unless
//
// The event unless.event cancels the campaign's waits for the key that it carries and those without a key, or
// all of them when it carries none. Each cancelled wait is stated as suppressed (cancelled). An event that
// triggers a segment's campaign and is its unless.event at once doesn't start it, and that is stated as well.
// A historical event cancels the waits whose own event occurred before it. An event at the very instant at
// which a wait is due comes too late.
//
// # Judging
//
// At the due instant, however late it is run, and by the definitions in force then: consent to email
// (consent_unknown, consent_withdrawn), the size of the segments that choose the audience (segment_too_small), the
// audience rule (audience), the cap (cap). The first that refuses gives the reason. A campaign that is no longer defined is
// suppressed too (campaign_removed).
//
// What one record of the log leads to is one commit, of a bounded size, and each mail carries all of the customer's traits.
// The first mail of a record always goes; one with which they would carry more than pipeline.MaxCarried is suppressed
// (too_much_at_once). That is for a customer of much data with many waits, and here alone it matters how late a wake-up
// comes: what several records would have led to is then one record's.
//
// The segments that choose are those of on, and those that the audience rule asks for other than below a not. While one
// of them has fewer members than its min_size, as a control record says, the campaign is suppressed, or, with
// below_min_size: everyone, judged as if the customer were a member.
//
// Audience rules of campaigns on an event may ask about that event, also at the end of the wait. What rules
// look back at is recorded here, for all campaigns' rules, since the definitions have them.
//
// # Caps
//
// cap: {per: day, max: n} allows n fired decisions of the campaign in any 24 hours, [ts, ts+24h). A fired
// decision reserves its place at once. The end of its delivery (an event of type delivery with
// properties.decision and properties.outcome) releases the place when it is dropped or bounced, so that a mail
// that never went out doesn't count; accepted and unknown keep it.
//
// # Merging
//
// While another profile of the customer is awaited nothing is judged. What triggers a campaign meanwhile waits until
// the customer is whole, also where the campaign has no wait, and each of it is judged then: a wait that is due already
// isn't restarted. Of both profiles' waits those that are not due are bounded as one profile's are (too_many_waits). Of
// flips of a segment the last one is left, and it is judged if it holds for the whole customer (merged).
//
// # Decision ids
//
// An id is made from profile, campaign, key, the log position of the triggering event and the due instant. The
// same log gives the same ids, no matter when wake-ups came. What triggered a segment by time has no place of
// its own in the log; it is known by its instant.
package trigger
