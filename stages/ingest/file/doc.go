// Package file turns the rows of a CSV or JSONL file into Segment-shaped calls for `attune import`.
//
//	mapping, err := file.LoadMapping("online-retail.yaml")
//	reader, err := file.Open("orders.csv.gz", file.Options{Mapping: mapping})
//	defer reader.Close()
//	for call, err := range reader.Calls(ctx) {
//		// err ends the sequence; refused rows go to Options.OnRefusal and into reader.Report().
//		// Publish call.Raw, and once it is acknowledged: reader.Checkpoint(call.Position) → Save.
//	}
//	fmt.Print(reader.Report())
//
// # What holds
//
//   - Every row ends in exactly one place: in a call, or refused with a line number and a reason.
//   - The same file and mapping give the same calls in the same order, byte for byte, gzipped or not.
//   - A call's messageId depends on the mapping's name and on the row or group alone, so importing a file
//     again, or a longer version of it, doubles nothing. A second row (or group) with a messageId that the
//     file already had is refused as repeated_id: further down it would be dropped without a word. (The
//     first two million ids are remembered for that; past them a repeat is still dropped further down.)
//   - Amounts are decimals from end to end: no float touches them.
//
// # Files
//
// Compression and format are known by their first bytes, not by the name; "-" is standard input. CSV has a
// header row. Quoted fields may hold delimiters, doubled quotes and line ends; a quote inside an unquoted
// field is an ordinary character. A record that can't be read (text after a closing quote, a quote that never
// closes within [Options.MaxRecord]) costs the one line where it begins, and reading goes on at the next.
// JSONL has one object per line; a column is a path such as "customer.id", and a key that holds dots itself
// is found first. Blank lines don't count.
//
// # Writing a mapping
//
// A mapping is YAML; what it doesn't know is an error with file, line and column. All of it in one:
//
//	name: online-retail            # part of every generated messageId: keep it when you edit the rest
//	format: csv                    # csv or jsonl; by default from the first character
//	delimiter: ","                 # one ASCII character, or "tab"
//	encoding: utf-8                # or latin1 (read as Windows-1252, its superset in practice)
//	timezone: Europe/London        # IANA; for times that carry no zone. Default UTC
//	time_layout: 2006-01-02 15:04:05   # a Go layout, rfc3339 (default), unix or unix_ms
//	missing: {CustomerID: [NA]}    # per column: spellings of "no value". Blank always is
//	require: [CustomerID]          # a row without one is refused as missing_CustomerID
//	refuse:                        # more reasons to leave a row out, in this order
//	  - {reason: test_order, when: {column: CustomerID, prefix: TEST}}
//	group_by: InvoiceNo            # rows with the same value become one call
//	calls:                         # the first whose `when` holds takes the row; none: refused as no_call
//	  - when: {column: InvoiceNo, not_prefix: C}     # one condition, or a list of which all must hold
//	    type: track                # or identify
//	    event: Order Completed     # track only; "{column}" stands for a value
//	    user: CustomerID           # and/or anonymous: at least one, and a row needs at least one
//	    time: InvoiceDate          # a track needs one; an identify without says "when it is imported"
//	    id: "order:{InvoiceNo}"    # the messageId; default: a hash of the row (or of the group's value)
//	    properties:
//	      order_id: InvoiceNo                             # short for {column: InvoiceNo}
//	      total: {sum: Quantity * UnitPrice}              # over the group's rows; one or two columns; exact
//	      currency: {const: GBP}
//	    items:                                            # one object per row
//	      name: products
//	      fields:
//	        quantity: {column: Quantity, type: integer}
//	        price: {column: UnitPrice, type: money}
//
// Conditions: equals, not_equals, in (a list), prefix, not_prefix, matches (RE2), below, above (numbers),
// missing (true or false). They see the text as it is in the file; only `missing` holds for a missing value,
// and not_equals and not_prefix do too.
//
// Types: string, number, integer, money, boolean (true/false, yes/no, y/n, t/f, 1/0, any case), time. Without
// a type a CSV value is a string and a JSONL value stays what it is, objects and lists included. `negate: true`
// turns a number's sign. money has at most four decimals; more is refused as bad_money unless `decimals: 0..4`
// says how to round (half away from zero). A sum is money unless it says number or integer. A missing value
// leaves its property out, except in a sum, where it refuses the row.
//
// In properties, traits and context a dotted name nests: `address.city: City`. In JSONL `properties: props`
// takes over the whole object found at that path (so does `traits: …`).
//
// # Groups
//
// The lines of a group needn't be neighbours: the file is read whole before the first call, and calls come in
// the order of their first lines. That takes memory, so [Options.MaxGroupedRows] and [Options.MaxGroupedBytes]
// bound it; beyond them the import fails before the first call, because a group cut in two would be wrong.
// Without group_by nothing is held.
//
//   - A row's call is chosen first, then it is grouped: rows that go to different calls never share a group.
//   - The call's time is the earliest of its rows. Person and time must be readable in every row, and rows
//     that name different people refuse the group as mixed_<column>.
//   - Other columns outside `items` and `sum` come from the group's first row.
//   - What `require` and `refuse` leave out is left out by declaration: the rest of its group stands. A row
//     that can't be read refuses the rest of its group too (incomplete_group): a total without it would be wrong.
//     Only a line so broken that its group can't be seen (malformed, too_long) is missing without its group knowing.
//
// # Resuming
//
// Each call carries its [Position]; a [Checkpoint] is a position for which it and all calls before it are
// acknowledged. Resuming reads the file from the start, makes the calls again and skips those behind the
// checkpoint, so its report is about the whole file. A file or mapping that has changed is refused: by the
// file's first 64 KiB and size, by the mapping's hash, and by a digest of all calls before the position.
package file
