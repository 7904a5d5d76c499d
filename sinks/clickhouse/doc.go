// Package clickhouse is the sink of the facts: it owns the schema of the analysts' database, writes closed ranges
// of commits into it, each row once, and answers queries.
//
// # Once
//
// A batch is a closed range of commits, decided by the caller before the first attempt. Every table's insert
// carries a token made from the stream's name and the range, so a repeat of the same range, after a crash or a
// lost reply, changes nothing, in roll-ups that hang on the table too. A range must therefore keep its bounds over
// all its attempts: whoever cuts ranges writes them down before the first one. And no other facts may ever come
// under the same name: a stream that is made anew, and counts from 1 again, needs another name or another database.
//
// # Whole
//
// A producer's JSON may hold what ClickHouse's JSON type refuses (integers beyond 64 bits, lone surrogates, a
// depth of thousands) or bends (null, empty objects, names that hold dots or come twice, long decimals). Then its
// text stands whole in the column of the same name that ends in _raw; where that is empty, the JSON column says
// it all. What nests deeper than 32 levels or has more than 512 fields is kept as text alone, since it would cost
// the server too much. The server parses each text by itself and takes what it refuses as text, so no payload
// makes an insert fail.
//
// # What profiles have shown
//
// Half of what ClickHouse's inserts cost was in the kernel, which made a file for each of some two hundred streams of columns:
// parts below 128 MiB keep them in one. An insert of profiles took longer than one of four times as many events, since the
// server ran the engine's merge over it: it has nothing to merge and is told so. Merges in the background take about as
// much as the inserts, so the reader of the commits makes batches as large as it may.
package clickhouse
