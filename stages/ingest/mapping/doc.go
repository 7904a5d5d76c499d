// Package mapping turns payloads of any format into calls in Segment's shape, by a mapping: a small YAML file with jq
// expressions. The formats that come with Attune (cloudevents, contacts, ga4, shopify, webhook) are such files too;
// `attune mapping show NAME` prints one, to be copied and changed. Entrances and `attune import` use the same language.
//
// # Where it runs
//
// At an entrance of ingest, before RAW; package file has what is different for rows of a file. Mapping there knows the customer before the record is written, so each call
// gets the key that keeps that customer's calls in order; one payload may become calls of many customers; and each
// call is a record of RAW of its own, so that "each record of EVENTS names its source (q, RAW sequence, index)" holds
// with nothing added to normalize. The answer is given once every call is stored. What a mapping can't use is parked
// before the answer: the whole payload, with what the request said beside it, as a dead letter that names the entrance.
// `attune deadletter retry` maps it again once the mapping is mended. Calls that were stored the first time have the
// same ids again and are dropped as repeats; what the mended mapping makes of them otherwise than before is parked
// (reused_message_id), and what was stored first stays. Had RAW kept payloads for normalize to map, a mistake that is no
// error would still be lost with RAW, which is purged once normalized.
//
// # Writing a mapping
//
//	name: my-shop                   # message ids begin with it: keep it when you edit the rest
//	reads: [json, csv]              # json is the default; CSV has a header row and comes as text/csv
//	headers: [X-Topic]              # what expressions may see of the request: $headers["x-topic"]
//	query: [shop]                   # and of its query: $query.shop
//	timezone: Europe/Berlin         # of times without one; default UTC. The entrance's own comes first
//	authenticate:                   # how a request shows that it knows the entrance's secret; files need none
//	  hmac: {header: X-Signature, algorithm: sha256, encoding: hex}
//	expect:                         # what a payload, or an item, must hold to be mapped at all
//	  - {payload: .orders, type: array, send: 'a list of orders: {"orders": []}'}
//	  - {item: .id, type: [string, number], reason: no_order_id, send: the order's id}
//	each: .orders[]                 # the payload's items; default: the payload is the one item
//	let:                            # names for all below, in this order
//	  customer: .customer // $payload.customer
//	refuse:                         # items that a person should look at: parked with this reason
//	  - {reason: no_currency, when: .currency == null, send: the currency of each order}
//	ignore: .test == true           # other items that mean nothing: taken, and no call
//	id: .id                         # tells a repeat from news; default: a hash of the item
//	calls:                          # an item becomes a call for each of these whose when holds
//	  - when: .status == "paid"
//	    event: Order Completed      # text, in which \(…) is jq
//	    user: $customer.id
//	    time: .paid_at
//	    properties:
//	      order_id: .number
//	      revenue: .total_cents | from_minor("EUR")
//	      products: '[.lines[] | {product_id: .sku, quantity, price}]'
//	  - when: $customer.email != null
//	    type: identify
//	    user: $customer.id
//	    traits: {email: '$customer.email | email', country: '$customer.country | country'}
//
// expect is looked at before all else, and the first line that is not met is what the sender is told, in words that the
// mapping says: "orders is missing: send a list of orders". payload is an expression over the whole payload, before each;
// item one over what let sees, before let. type is object, array, string, number, boolean or several of them (default: any);
// null is missing and blank text empty, unless it is optional: true; a line with when is for those for whom it holds; called
// is the name to use where the expression is not it; reason is unexpected_payload unless it says otherwise. What is
// told of the payload itself (payload: .) is told of one that can't be read at all, too.
//
// With group, items of one key become one item, an array of them in their order: what several lines of a file or a
// payload say together. All that follows (let, refuse, ignore, id, calls) sees the array.
//
//	each: .lines[]
//	group: .invoice
//	calls:
//	  - event: Order Completed
//	    user: .[0].customer
//	    time: '[.[].at] | min'
//	    properties: {revenue: '[.[] | [.quantity, .price]] | sum', products: '[.[] | {product_id: .sku, price}]'}
//
// A call has a type (track, the default, identify, page, screen, group, alias); event, of a track; name, of a page or
// screen; user, anonymous, or both; group or previous, where its type wants them; time and sent_at; id; and properties,
// traits and context, each a map of fields or one expression that gives an object. Null fields are left out.
//
// time reads RFC 3339, the same without zone (then in the entrance's timezone), and Unix seconds, milliseconds,
// microseconds and nanoseconds; anything else by strptime("%d.%m.%Y") | mktime. Where sent_at is given too, Segment's rule
// corrects the sender's clock: accepted - (sent_at - time). Numbers stay as they are written: 19.90 stays 19.90; arithmetic
// on them is in binary, sum's in decimals.
//
// # Repeats
//
// messageId is the mapping's name and the item's id: what id gives, else a hash of the item's content, so an
// item that is sent again is a repeat. Where a format can send the same content twice and mean both, use
// what tells them apart; where there is nothing, "\($request):\($index)" makes each request news. The second and
// further calls of an item have its id with their number, #1 and so on, unless they have an id of their own.
//
// # Authentication
//
//	token: {header: Authorization, prefix: "Bearer "}         or {query: api_secret}
//	hmac:  {header: X-Signature, algorithm: sha256, encoding: base64, prefix: ""}       algorithm sha256, sha512, sha1; encoding base64, hex
//	hmac:  {header: webhook-signature, prefix: "v1,", signed: "{webhook-id}.{webhook-timestamp}.{body}",
//	        timestamp: webhook-timestamp, tolerance: 5m}      Standard Webhooks
//
// Signatures are of the body, unpacked, byte for byte, and compared in constant time.
//
// # Expressions
//
// They see the item as ., and $payload, $headers, $query, $request (an id of the request, the same when it is tried
// again), $index (of the item, from 0) and what let names. They are jq without what can run on by itself: no def,
// reduce, foreach, label, range, recursion over a filter or assignment, and these functions only:
//
//	empty not select map values nulls strings numbers booleans arrays objects scalars iterables length keys has type
//	add any all first last limit isempty to_entries from_entries with_entries del getpath tostring tonumber toboolean
//	tojson fromjson min max min_by max_by sort sort_by group_by unique unique_by reverse flatten join split startswith
//	endswith ltrimstr rtrimstr trimstr trim ltrim rtrim ascii_downcase ascii_upcase test match capture scan sub gsub
//	floor ceil round fabs abs IN strptime strftime mktime gmtime todate fromdate fromdateiso8601 todateiso8601 dateadd
//	datesub
//
// and Attune's own, the normal forms of pipeline/normal, which leave null and what has no such form as it is:
//
//	email             an address, trimmed and in lower case
//	phone, phone(c)   a number in E.164; c is the country, in any spelling, of numbers without country code
//	country           ISO 3166 alpha-2: "Germany" is "DE"
//	locale            BCP 47: "de_DE" is "de-DE"
//	currency          ISO 4217 in capitals
//	from_minor(c)     an amount of minor units: 1999 | from_minor("EUR") is "19.99", from_minor("JPY") "1999"
//	amount(c)         an amount rounded to the currency's decimals
//	sum               of an array of numbers or numeric text, exact: [0.1, "0.2"] is 0.3. [2, 1.5] in it counts as their product
//	text              a number as text, which ids want; null stays null, where tostring makes "null" of it
//	folded            a name, or an object's names, without case, space, _, - and dots: "First Name" is "firstname"
//
// A payload may take a number of steps that grows with its size, and the entrance sets a deadline beside; whatever takes more
// ends as mapping_too_slow. Mappings are written by those who run Attune and are trusted that far; payloads are
// trusted with nothing.
package mapping
