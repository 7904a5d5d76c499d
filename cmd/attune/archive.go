package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"attune/pipeline/event"
	"attune/sinks/clickhouse"
	"attune/stages/enrich/clv/fit"
	"attune/stages/trigger/recommend"
)

// archive is what the database knows of the past, for training.
type archive struct {
	dsn string
	say *progress
}

// customerOf is whose a row of customersEvents is: those of a merged profile are the one's that it went on in.
const (
	customerOf      = `if(current_id = '', events.profile_id, current_id)`
	customersEvents = `events LEFT JOIN merged_profiles USING (profile_id)`
)

// orderDays reads on which days, UTC, each customer bought, and for how much: what profiles keep of orders, and what
// scores are made from. A day's refunds are not taken off, and more than money can say is as much as it can, as in profiles.
func (a *archive) orderDays(ctx context.Context) (log []fit.Purchase, err error) {
	const query = `SELECT ` + customerOf + ` AS customer, toInt32(floor(toUnixTimestamp64Milli(occurred) / 86400000)) AS day, toInt64(least(sum(greatest(revenue, 0)), toDecimal128('922337203685477.5807', 4)) * 10000)
		FROM ` + customersEvents + ` WHERE event = 'Order Completed' AND type = 'track' GROUP BY customer, day ORDER BY customer, day`
	err = a.rows(ctx, query, func(r *rowReader) error {
		log = append(log, fit.Purchase{Customer: r.text(), Day: r.int32(), Amount: event.Money(r.int64())})
		return r.err
	})
	return log, err
}

// extent is how many events there are, and up to when they tell of customers.
type extent struct {
	events uint64
	late   uint64 // of them, those that occurred from an instant on
	end    event.Instant
}

func (a *archive) extent(ctx context.Context, late event.Instant) (e extent, err error) {
	query := fmt.Sprintf(`SELECT count(), countIf(toUnixTimestamp64Milli(occurred) >= %d),
		toInt64(least(max(toUnixTimestamp64Milli(occurred)), max(toUnixTimestamp64Milli(accepted)))) FROM events WHERE type != 'delivery'`, late)
	err = a.rows(ctx, query, func(r *rowReader) error {
		e.events, e.late, e.end = uint64(r.int64()), uint64(r.int64()), event.Instant(r.int64())
		return r.err
	})
	return e, err
}

// mostEvents bounds how many events are read for examples: of more customers a part is taken.
const mostEvents = 2_000_000

// customers reads events, customer by customer and in the order in which they occurred; of one customer in so many.
func (a *archive) customers(ctx context.Context, e extent, oneIn uint64, take func(*event.Event)) error {
	query := fmt.Sprintf(`SELECT `+customerOf+` AS customer, toString(type), toString(event), toUnixTimestamp64Milli(occurred),
		if(notEmpty(properties_raw), properties_raw, toString(properties)) FROM `+customersEvents+`
		WHERE type != 'delivery' AND cityHash64(customer) %% %d = 0 ORDER BY customer, occurred, partition, sequence`, oneIn)
	n := uint64(0)
	return a.rows(ctx, query, func(r *rowReader) error {
		var one event.Event
		one.Profile, one.Type, one.Name = r.text(), event.Type(r.text()), r.text()
		one.Occurred = event.Instant(r.int64())
		one.Accepted, one.Properties = one.Occurred, event.Object(r.text())
		if r.err != nil {
			return r.err
		}
		take(&one)
		n++
		a.say.rows(n, max(e.events/oneIn, n))
		return nil
	})
}

// mostOrders bounds how many orders recommendations are learned from: the latest.
const mostOrders = 500_000

// orders reads what was bought together.
func (a *archive) orders(ctx context.Context) ([]recommend.Order, error) {
	return a.baskets(ctx, fmt.Sprintf(`SELECT `+customerOf+`, toUnixTimestamp64Milli(occurred), if(notEmpty(properties_raw), properties_raw, toString(properties))
		FROM `+customersEvents+` WHERE event = 'Order Completed' AND type = 'track' ORDER BY occurred DESC, partition, sequence LIMIT %d`, mostOrders))
}

// views reads how each product was described last by those who looked at it or put it into the cart.
func (a *archive) views(ctx context.Context) ([]recommend.Order, error) {
	return a.baskets(ctx, fmt.Sprintf(`SELECT `+customerOf+`, toUnixTimestamp64Milli(occurred), if(notEmpty(properties_raw), properties_raw, toString(properties))
		FROM `+customersEvents+` WHERE event IN ('Product Viewed', 'Product Added') AND type = 'track' AND notEmpty(properties.product_id)
		ORDER BY occurred DESC, partition, sequence LIMIT 1 BY properties.product_id LIMIT %d`, 10*recommend.MaxItems))
}

func (a *archive) baskets(ctx context.Context, query string) (all []recommend.Order, err error) {
	n := uint64(0)
	err = a.rows(ctx, query, func(r *rowReader) error {
		o := recommend.Order{Customer: r.text(), At: event.Instant(r.int64())}
		o.Products = recommend.ReadProducts(event.Object(r.text()))
		all = append(all, o)
		n++
		a.say.rows(n, n)
		return r.err
	})
	return all, err
}

// rows hands each row of an answer to take, which reads its columns in their order.
func (a *archive) rows(ctx context.Context, query string, take func(*rowReader) error) error {
	reader, writer := io.Pipe()
	go func() { writer.CloseWithError(clickhouse.Query(ctx, a.dsn, query, "RowBinary", writer)) }()
	defer func() { _ = reader.Close() }() // ends the query, if it is not at its end
	r := &rowReader{from: bufio.NewReaderSize(reader, 1<<20)}
	for {
		if _, err := r.from.Peek(1); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := take(r); err != nil {
			return fmt.Errorf("read the database's answer: %w", err)
		}
	}
}

// rowReader reads ClickHouse's RowBinary. After an error it reads nothing more.
type rowReader struct {
	from *bufio.Reader
	err  error
}

// mostText bounds one text of an answer, in bytes.
const mostText = 64 << 20

func (r *rowReader) text() string {
	if r.err != nil {
		return ""
	}
	size, err := binary.ReadUvarint(r.from)
	if err == nil && size > mostText {
		err = fmt.Errorf("a text has %d bytes", size)
	}
	if r.err = err; err != nil {
		return ""
	}
	text := make([]byte, size)
	_, r.err = io.ReadFull(r.from, text)
	return string(text)
}

func (r *rowReader) int32() int32 {
	var b [4]byte
	r.fixed(b[:])
	return int32(binary.LittleEndian.Uint32(b[:]))
}

func (r *rowReader) int64() int64 {
	var b [8]byte
	r.fixed(b[:])
	return int64(binary.LittleEndian.Uint64(b[:]))
}

func (r *rowReader) fixed(b []byte) {
	if r.err == nil {
		_, r.err = io.ReadFull(r.from, b)
	}
}

// progress tells people how far a long piece of work is: a line for each stage, and one now and then for its rows.
type progress struct {
	out  io.Writer
	now  func() time.Time
	told time.Time
	what string
}

// progressEvery is how long a stage is silent.
const progressEvery = 2 * time.Second

func (p *progress) stage(format string, args ...any) {
	p.what, p.told = fmt.Sprintf(format, args...), p.now()
	fmt.Fprintf(p.out, "%s ...\n", p.what)
}

func (p *progress) rows(done, all uint64) {
	if done%1024 != 0 || p.now().Sub(p.told) < progressEvery {
		return
	}
	p.told = p.now()
	fmt.Fprintf(p.out, "%s: %s of %s (%d %%)\n", p.what, grouped(done), grouped(all), done*100/max(all, 1))
}

func (p *progress) done(format string, args ...any) {
	fmt.Fprintf(p.out, "  %s\n", fmt.Sprintf(format, args...))
}

// grouped writes 1234567 as 1,234,567.
func grouped(n uint64) string {
	digits := strconv.FormatUint(n, 10)
	var b strings.Builder
	for i, d := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(d)
	}
	return b.String()
}
