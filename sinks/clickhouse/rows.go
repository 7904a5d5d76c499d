package clickhouse

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/column"
	"github.com/shopspring/decimal"

	"attune/pipeline"
	"attune/pipeline/event"
)

// rows is one table's part of a batch, column by column. Nothing changes it once it is built, so each attempt at
// the insert reads it anew.
type rows struct {
	table   string
	columns []string
	data    []any // a slice each, all of length n
	n       int
	// texts are the whole texts of the JSON columns, by name: name_text and name_keep are made from them.
	texts map[string][]string

	courtesy *pipeline.Courtesy
}

func (r *rows) add(column string, values any) {
	r.columns = append(r.columns, column)
	r.data = append(r.data, values)
}

// addJSON adds a JSON column by its text, which the server parses, and the texts that it has to keep besides,
// since the column would not say all of them; typed are the column's typed paths.
func (r *rows) addJSON(column string, values []event.Object, typed ...string) {
	whole, parse, keep := make([]string, len(values)), make([]string, len(values)), make([]string, len(values))
	for i, v := range pipeline.GivingWay(r.courtesy, values, 32) {
		whole[i] = string(v)
		switch {
		case len(v) == 0:
			parse[i] = "{}" // an empty text is no object, and refusing one costs the server ten times a parse
		case exact(v, typed):
			parse[i] = whole[i]
		case tooMuch(v):
			parse[i], keep[i] = "{}", whole[i]
		default:
			parse[i], keep[i] = whole[i], whole[i]
		}
	}
	if r.texts == nil {
		r.texts = map[string][]string{}
	}
	r.texts[column] = whole
	r.add(column+textSuffix, parse)
	r.add(column+keepSuffix, keep)
}

const (
	textSuffix = "_text"
	keepSuffix = "_keep"
	rawSuffix  = "_raw"
)

// unparsed are the same rows without anything that the server has to parse: the JSON columns stay empty and
// their texts stand in the _raw columns. It is nil where there is nothing to parse.
func (r *rows) unparsed() *rows {
	if len(r.texts) == 0 {
		return nil
	}
	u := &rows{table: r.table, n: r.n, courtesy: r.courtesy}
	for i, column := range r.columns {
		name, isText := strings.CutSuffix(column, textSuffix)
		switch {
		case isText:
			u.add(name+rawSuffix, r.texts[name])
		case !strings.HasSuffix(column, keepSuffix):
			u.add(column, r.data[i])
		}
	}
	return u
}

// insert is the statement for the columns, in their order.
func (r *rows) insert(database string) string {
	return "INSERT INTO `" + database + "`.`" + r.table + "` (`" + strings.Join(r.columns, "`, `") + "`)"
}

// The instants that DateTime64(3) tells apart and the client can say: it computes in int64 nanoseconds.
const (
	earliest event.Instant = -2208988800000 // 1900-01-01T00:00:00.000Z
	latest   event.Instant = 9223372036854  // 2262-04-11T23:47:16.854Z
)

func moment(i event.Instant) time.Time {
	return time.UnixMilli(int64(min(max(i, earliest), latest))).UTC()
}

// since is NULL for "none".
func since(i event.Instant) *time.Time {
	if i == 0 {
		return nil
	}
	t := moment(i)
	return &t
}

// amount is exact: Decimal(18, 4).
func amount(m event.Money) decimal.Decimal { return decimal.New(int64(m), -4) }

// cents rounds to Decimal(18, 2), half away from zero.
func cents(m event.Money) decimal.Decimal {
	whole, rest := m/100, m%100
	switch {
	case rest >= 50:
		whole++
	case rest <= -50:
		whole--
	}
	return decimal.New(int64(whole), -2)
}

func textAt(o event.Object, path string) string {
	v := o.Get(path)
	if v.Null() {
		return ""
	}
	return v.String()
}

// sorted is a map whose rows have their keys in order, so that the same batch gives the same bytes. It is the
// client's column.IterableOrderedMap.
type sorted[V any] struct{ m map[string]V }

func sortedAll[V any](rows []map[string]V) []sorted[V] {
	all := make([]sorted[V], len(rows))
	for i, m := range rows {
		all[i].m = m
	}
	return all
}

// Put is never called: the client reads.
func (s sorted[V]) Put(any, any) {}

func (s sorted[V]) Iterator() column.MapIterator {
	return &sortedIterator[V]{m: s.m, keys: slices.Sorted(maps.Keys(s.m)), at: -1}
}

type sortedIterator[V any] struct {
	m    map[string]V
	keys []string
	at   int
}

func (i *sortedIterator[V]) Next() bool { i.at++; return i.at < len(i.keys) }
func (i *sortedIterator[V]) Key() any   { return i.keys[i.at] }
func (i *sortedIterator[V]) Value() any { return i.m[i.keys[i.at]] }
