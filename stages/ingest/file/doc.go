// Package file turns the rows of a CSV or JSONL file into calls for `attune import`, by a mapping of package mapping: the
// same language as at the entrances, and the mappings that come with Attune.
//
//	m, err := mapping.Open("online-retail.yaml", os.ReadFile, mapping.Options{})
//	reader, err := file.Open("orders.csv.gz", file.Options{Mapping: m})
//	defer reader.Close()
//	for call, err := range reader.Calls(ctx) {
//		// err ends the sequence; refused rows go to Options.OnRefusal and into reader.Report().
//		// Publish call.Raw, and once it is acknowledged: reader.Checkpoint(call.Position) → Save.
//	}
//	fmt.Print(reader.Report())
//
// # What holds
//
//   - Every row ends in exactly one place: in calls, ignored by the mapping, or refused with a line number and a reason.
//   - The same file and mapping give the same calls in the same order, byte for byte, gzipped or not.
//   - A call's messageId depends on the mapping's name and on the row or group alone, so importing a file again, or
//     a longer version of it, doubles nothing for as long as the pipeline remembers ids (topology.duplicates_age, 30 days
//     by default). (A group that has grown is another call, unless the mapping's id says what tells groups apart.) A second
//     row with a messageId that the file already had is refused as repeated_id: further down it would be dropped without a
//     word. (The first two million ids are remembered for that; past them a repeat is still dropped further down.)
//   - What happened needs its time: a track, page or screen without one is refused as no_time.
//
// # Files
//
// Compression and format are known by their first bytes, not by the name; "-" is standard input. CSV has a
// header row, and the mapping must read it (reads: csv, or [json, csv]). Its delimiter is whatever of comma, semicolon,
// tab and bar separates the most names of the header row. Quoted fields may hold delimiters, doubled quotes and line ends;
// a quote inside an unquoted field is an ordinary character. A record that can't be read (text after a closing quote, a
// quote that never closes within [Options.MaxRecord]) costs the one line where it begins, and reading goes on at the next.
// JSONL has one object per line. Blank lines don't count.
//
// # What a mapping sees
//
// Each row is a payload of its own: an object, of CSV with the cells that aren't empty, as text, by their names. $request
// is a hash of the row; there are no headers and no query. Amounts of CSV are added up by sum, which no float touches.
//
// # Groups
//
// With group, rows of one key become one item, wherever they stand: the file is read whole before the first call, and
// calls come in the order of their first lines. That takes memory, so [Options.MaxGroupedRows] and
// [Options.MaxGroupedBytes] bound it; beyond them the import fails before the first call, because a group cut in two would
// be wrong. Without group nothing is held. What is refused of a group is refused with all of its rows. A row that can't be
// read refuses the rest of its group too (incomplete_group): a total without it would be wrong. Only a line so broken that
// its group can't be seen (malformed, too_long) is missing without its group knowing.
//
// # Resuming
//
// Each call carries its [Position]; a [Checkpoint] is a position for which it and all calls before it are
// acknowledged. Resuming reads the file from the start, makes the calls again and skips those behind the
// checkpoint, so its report is about the whole file. A file or mapping that has changed is refused: by the
// file's first 64 KiB and size, by the mapping's hash, and by a digest of all calls before the position.
package file
