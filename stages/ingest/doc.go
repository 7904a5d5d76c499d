// Package ingest takes events from the outside and puts them into the raw log.
//
// # HTTP
//
// [Handler] speaks Segment's HTTP tracking API, so that any Segment client works by changing its host:
//
//	POST /v1/track  /v1/identify  /v1/page  /v1/screen  /v1/group  /v1/alias     one call
//	POST /v1/batch  /v1/import                                                   many calls
//	POST /v1/t /v1/i /v1/p /v1/s /v1/g /v1/a /v1/b                               the short forms of analytics.js
//
// The write key is the user name of HTTP Basic authentication (base64 of "KEY:"; the colon may be missing), else
// the body's "writeKey". A bearer token counts as no write key. The body is JSON whatever the Content-Type says (analytics.js sends
// text/plain to avoid a preflight), plain or with Content-Encoding gzip. docs/openapi.yaml has each of
// these routes and of the entrances below, its statuses and bodies.
//
// The reply 200 {"success":true} is sent only after the log holds every record. Taken is taken: when a client
// hangs up after its request was read (browsers do, on page unload), the events are stored all the same.
//
//	400  wrong input; the body names code, field and message. Trying again is useless.
//	401  unknown write key (code invalid_write_key)
//	404  no such route
//	405  another method than POST or OPTIONS; Allow names them
//	408  the body came too slowly to be read to its end (code body_too_slow): try again
//	415  another Content-Encoding than gzip or identity
//	429  too many requests, or too many bytes of them, in flight: try again after Retry-After seconds
//	     (X-RateLimit-Reset says the same to analytics.js)
//	503  the log is full or did not store the records: try again after Retry-After seconds
//
// Oversize is 400, as Segment answers it, not RudderStack's 413: Segment's clients name 400 as "malformed or size
// exceeded, don't retry", and none of them sends again on either. Limits count the decompressed body: 32 KiB a
// call, 500 KiB and 2,500 events a batch, 32 KiB an event. Error codes are Segment's discard codes where it
// has one (no_user_anon_id, event_not_defined, event_not_string, properties_not_object, traits_not_object,
// empty_batch) and follow its way of naming elsewhere.
//
// A wrong event inside a batch does not hurt the others: the reply is 200, as Segment's, with the header
// Attune-Parked counting those that went to the dead letters with their reason. With ?strict=1 the whole batch is
// refused instead: 400, one entry per wrong event in "errors", and nothing is taken. One call alone that is wrong
// is always a 400. Segment itself answers 200 to that and drops it.
//
// What goes into the log is the call's JSON as it was sent, except that "writeKey" is taken out, "type" is set,
// "messageId" is made where it is absent (so that a repeat of ours can be told from a new event), ids that are numbers become
// strings, and a batch's "context" and "integrations" fill the keys that the event does not have itself.
// Invalid UTF-8 becomes U+FFFD. "accepted" is stamped once, when the request has been read; "sentAt" of the
// batch, else of the event, travels beside the payload.
//
// A retry by the client is safe when its events carry a "messageId": all of Segment's clients set one. Within two minutes
// it parks no wrong event twice: those of the same text are one dead letter then.
//
// # Entrances
//
// A producer with a format of its own posts to /v1/in/NAME (and to the entrance's path, where it has one): a webhook,
// CloudEvents, contacts. The entrance's mapping (package mapping) says how a request authenticates and which calls
// its payload becomes; from there on they are treated as a batch's. The body is at most 512 KiB, or max_batch_bytes.
//
//	200  taken. Attune-Parked counts what could not be used; the payload is then a dead letter, whole
//	400  the body is too large or could not be read; nothing was kept
//	401  the token or signature is missing or wrong (code not_authenticated)
//
// 404, 405, 408, 415, 429 and 503 are as above. An answer comes within half a second's wait for a turn, a second of mapping
// and three of storing, once the body is there: Shopify gives five in all. OPTIONS answers CloudEvents' question whether
// webhooks are welcome.
//
// # Straight to NATS
//
// A trusted producer may leave HTTP out and publish to JetStream:
//
//	subject  attune.events.<key>
//	payload  {"type":"track","messageId":"7c0f…","userId":"u1","event":"Order Completed",
//	          "timestamp":"2026-11-23T10:15:00Z","properties":{"order_id":"o-7","revenue":59.9}}
//
// <key> is the person's anonymous id, or the user id where there is none, with every character outside
// [A-Za-z0-9_-] replaced by "_". It decides only where the event queues, not whose it is, but the same person must
// always use the same key: events with one key keep their order. The payload is one JSON object in Segment's shape
// with its "type"; set a "messageId" that stays the same when you publish again. Wait for JetStream's ack: only
// then is the event stored. `accepted` is then the broker's timestamp. The headers of event.Raw (Attune-Accepted,
// Attune-Sent-At, Attune-Historical) are optional and only for producers that you trust with the clock. With the
// nats command:
//
//	nats request attune.events.u1 '{"type":"track","messageId":"m-1","userId":"u1","event":"Product Viewed"}'
//
// Nothing is checked on the way in; what normalize can't use goes to the dead letters with its reason.
package ingest
