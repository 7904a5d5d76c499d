package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"attune/pipeline"
	"attune/pipeline/event"
	"attune/pipeline/topology"
	"attune/stages/ingest"
)

// deadletterCommand looks at what could not be used.
type deadletterCommand struct {
	List  deadletterList  `cmd:"" help:"List dead letters, the oldest first."`
	Show  deadletterShow  `cmd:"" help:"Show one, with what was sent."`
	Retry deadletterRetry `cmd:"" help:"Send one, or all of a reason, through the pipeline again."`
}

// letter is a dead letter with its place in the stream.
type letter struct {
	pipeline.DeadLetter
	number uint64
	stage  string
	stored time.Time
	until  time.Time // when it is deleted
}

type deadletterList struct {
	Reason string `placeholder:"REASON" help:"Only those of one reason."`
	Limit  int    `default:"50" help:"At most so many."`
	target
}

// Run is the command.
func (l *deadletterList) Run(ctx context.Context, s streams) error {
	conn, js, err := l.connect()
	if err != nil {
		return err
	}
	defer conn.Close()
	w := tabwriter.NewWriter(s.out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "NUMBER\tWHEN\tSTAGE\tREASON\tERROR")
	shown, more := 0, 0
	err = eachLetter(ctx, js, func(x letter) error {
		if l.Reason != "" && x.Reason != l.Reason {
			return nil
		}
		if shown >= l.Limit {
			more++
			return nil
		}
		shown++
		fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%.100s\n", x.number, x.stored.UTC().Format(time.RFC3339), x.stage, x.Reason, x.Error)
		return nil
	})
	if err != nil {
		return err
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if more > 0 {
		fmt.Fprintf(s.out, "… and %d more (--limit)\n", more)
	}
	return nil
}

type deadletterShow struct {
	Number uint64 `arg:"" help:"Its number in the list."`
	target
}

// Run is the command.
func (d *deadletterShow) Run(ctx context.Context, s streams) error {
	conn, js, err := d.connect()
	if err != nil {
		return err
	}
	defer conn.Close()
	x, err := oneLetter(ctx, js, d.Number)
	if err != nil {
		return err
	}
	fmt.Fprintf(s.out, "number   %d\nwhen     %s\nuntil    %s\nstage    %s\nreason   %s\nerror    %s\nread at  %s %d\n\n%s\n",
		x.number, x.stored.UTC().Format(time.RFC3339), x.until.UTC().Format(time.RFC3339), x.stage, x.Reason, x.Error, x.Subject, x.Position, x.Payload)
	return nil
}

type deadletterRetry struct {
	Number uint64 `arg:"" optional:"" help:"Its number in the list."`
	Reason string `placeholder:"REASON" help:"All of this reason instead."`
	target
}

// Run is the command. A letter is deleted once its call is in RAW again; a call keeps its message id, so trying
// twice doubles nothing, and its letter's end, so trying doesn't keep it longer.
func (d *deadletterRetry) Run(ctx context.Context, s streams) error {
	if (d.Number == 0) == (d.Reason == "") {
		return errors.New("deadletter retry: give either a number or --reason")
	}
	c, err := d.configured() // with its entrances, whose mappings a payload needs
	if err == nil && c.NATS.URL == "" {
		c, err = d.load()
	}
	if err != nil {
		return err
	}
	conn, js, err := connect(c.NATS)
	if err != nil {
		return err
	}
	defer conn.Close()
	var letters []letter
	if d.Number != 0 {
		x, err := oneLetter(ctx, js, d.Number)
		if err != nil {
			return err
		}
		letters = append(letters, x)
	} else if err := eachLetter(ctx, js, func(x letter) error {
		if x.Reason == d.Reason {
			letters = append(letters, x)
		}
		return nil
	}); err != nil {
		return err
	}
	if len(letters) == 0 {
		return fmt.Errorf("no dead letter has the reason %q: `attune deadletter list` shows which there are", d.Reason)
	}
	sent, err := retryAll(ctx, letters, func(x letter) error { return retry(ctx, js, c.Ingest, x) })
	fmt.Fprintf(s.out, "%d sent again; those that still can't be used come back as new dead letters: see `attune deadletter list`\n", sent)
	return err
}

// retryAll counts the letters that were sent again. One that can't be does not stand in the way of the others; once ctx has
// ended no further one is tried.
func retryAll(ctx context.Context, letters []letter, retry func(letter) error) (sent int, err error) {
	var failed []error
	for _, x := range letters {
		if ctx.Err() != nil {
			return sent, errors.Join(append(failed, ctx.Err())...)
		}
		if err := retry(x); err != nil {
			failed = append(failed, fmt.Errorf("retry dead letter %d: %w", x.number, err))
			continue
		}
		sent++
	}
	return sent, errors.Join(failed...)
}

// retry sends a letter back to where it was on its way.
func retry(ctx context.Context, js jetstream.JetStream, c ingest.Config, x letter) error {
	switch {
	case x.Entrance != "":
		if err := remap(ctx, js, c, x); err != nil {
			return err
		}
	case x.stage == "ingest" || x.stage == pipeline.ReaderNormalize:
		raw, err := pipeline.NewRawLog(ctx, js, 1)
		if err != nil {
			return err
		}
		defer raw.Close()
		var who struct {
			Anonymous string `json:"anonymousId"`
			User      string `json:"userId"`
		}
		_ = json.Unmarshal(x.Payload, &who) // a letter without ids still has its own order
		key := who.Anonymous
		if key == "" {
			key = who.User
		}
		accepted := x.Accepted.Time()
		if accepted.IsZero() {
			accepted = time.Now()
		}
		if err := raw.Append(ctx, []event.Raw{{Key: key, Payload: x.Payload, Accepted: accepted, SentAt: x.SentAt.Time(), Historical: x.Historical, KeepUntil: x.until}}); err != nil {
			return err
		}
	case x.stage == pipeline.ReaderDeliver:
		if _, err := js.Publish(ctx, x.Subject, x.Payload); err != nil {
			return err
		}
	default:
		return fmt.Errorf("a record that failed in the %s chain can't be tried again: mend the definitions and send the event anew", x.stage)
	}
	stream, err := js.Stream(ctx, topology.DeadLetter)
	if err != nil {
		return err
	}
	return stream.DeleteMsg(ctx, x.number)
}

// remap maps a payload anew; what still can't be used becomes a new letter.
func remap(ctx context.Context, js jetstream.JetStream, c ingest.Config, x letter) error {
	records, reason, problems, err := c.Again(ctx, x.Entrance, x.Payload)
	if err != nil {
		return err
	}
	raw, err := pipeline.NewRawLog(ctx, js, 1)
	if err != nil {
		return err
	}
	defer raw.Close()
	if problems != nil {
		again := pipeline.DeadLetter{Reason: reason, Error: problems.Error(), Payload: x.Payload, Entrance: x.Entrance, KeepUntil: x.until}
		if err := raw.Park(ctx, []pipeline.DeadLetter{again}); err != nil {
			return err
		}
	}
	for i := range records {
		records[i].KeepUntil = x.until
	}
	return raw.Append(ctx, records)
}

func oneLetter(ctx context.Context, js jetstream.JetStream, number uint64) (letter, error) {
	stream, err := js.Stream(ctx, topology.DeadLetter)
	if err != nil {
		return letter{}, fmt.Errorf("look up stream %s: %w", topology.DeadLetter, err)
	}
	m, err := stream.GetMsg(ctx, number)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return letter{}, fmt.Errorf("there is no dead letter %d: `attune deadletter list` has their numbers", number)
	}
	if err != nil {
		return letter{}, fmt.Errorf("read dead letter %d: %w", number, err)
	}
	return readLetter(m.Subject, m.Data, m.Sequence, m.Time, stream.CachedInfo().Config.MaxAge)
}

// eachLetter visits what is in the stream now, in order.
func eachLetter(ctx context.Context, js jetstream.JetStream, visit func(letter) error) error {
	stream, err := js.Stream(ctx, topology.DeadLetter)
	if err != nil {
		return fmt.Errorf("look up stream %s: %w", topology.DeadLetter, err)
	}
	info, err := stream.Info(ctx)
	if err != nil {
		return fmt.Errorf("look up stream %s: %w", topology.DeadLetter, err)
	}
	if info.State.Msgs == 0 {
		return nil
	}
	reader, err := stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{})
	if err != nil {
		return fmt.Errorf("read dead letters: %w", err)
	}
	for {
		m, err := reader.Next(jetstream.FetchContext(ctx))
		if err != nil {
			return fmt.Errorf("read dead letters: %w", err)
		}
		meta, err := m.Metadata()
		if err != nil {
			return fmt.Errorf("read dead letters: %w", err)
		}
		x, err := readLetter(m.Subject(), m.Data(), meta.Sequence.Stream, meta.Timestamp, info.Config.MaxAge)
		if err != nil {
			return err
		}
		if err := visit(x); err != nil {
			return err
		}
		if meta.Sequence.Stream >= info.State.LastSeq || meta.NumPending == 0 {
			return nil
		}
	}
}

func readLetter(subject string, data []byte, number uint64, stored time.Time, age time.Duration) (letter, error) {
	x := letter{number: number, stored: stored, stage: strings.TrimPrefix(subject, topology.DeadLetter+".")}
	if err := json.Unmarshal(data, &x.DeadLetter); err != nil {
		return x, fmt.Errorf("dead letter %s: %w", strconv.FormatUint(number, 10), err)
	}
	if x.until = x.KeepUntil; x.until.IsZero() {
		x.until = stored.Add(age)
	}
	return x, nil
}
