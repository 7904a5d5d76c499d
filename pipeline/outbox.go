package pipeline

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"attune/pipeline/bus"
	"attune/pipeline/event"
	"attune/pipeline/state"
	"attune/pipeline/topology"
)

// QueueFull is the reason of a delivery that was dropped because its destination's queue has no room. It is the
// relay that states it, in the log, and not the destination's deliver.
const QueueFull = "queue_full"

// ordinalsPerCommit is more deliveries than one commit can hold.
const ordinalsPerCommit = 1 << 20

// relaySession owns one partition of the commits for the relay.
//
// A dead destination must not hold up the others, so a delivery that its full queue refuses ends here: dropped,
// with a record by its decision, as every end has one, and an event in the partition's log. The log is not RAW:
// it takes what comes, so the relay waits for nobody, and backpressure has no circle. What was dropped stays so
// when a crash repeats the commit and the queue has room by then: the record says it.
type relaySession struct {
	*SourceSession
	relay     *Relay
	partition int
	leaving   leaving
	records   *state.Bucket
	bookmark  *bookmark               // how far the relay has come
	start     uint64                  // the first commit that is read
	repeats   uint64                  // commits up to here may have been relayed before
	ends      map[string]bool         // of the batch's decisions: their records say QueueFull
	sent      map[int]*orderToSend    // by place in the wave
	dropped   map[uint64]*orderToSend // by ordinal
}

// orderToSend is one delivery of a commit.
type orderToSend struct {
	delivery *Delivery
	ordinal  uint64
	at       event.Instant // when the commit was stored
}

// deliveryEnd is a delivery's record as deliver has it, for an end without any attempt.
type deliveryEnd struct {
	State   string    `json:"state"`
	Reason  string    `json:"reason"`
	Attempt int       `json:"attempt"`
	At      time.Time `json:"at"`
}

func (r *Relay) open(ctx context.Context, topic string) (_ bus.Session, err error) {
	partition, err := topology.PartitionOf(topic)
	if err != nil {
		return nil, err
	}
	stream, err := bus.LookUpStream(ctx, r.js, topology.Commits)
	if err != nil {
		return nil, fmt.Errorf("look up stream %s: %w", topology.Commits, err)
	}
	info := stream.CachedInfo()
	wave, err := bus.NewWave(r.js.Conn())
	if err != nil {
		return nil, err
	}
	s := &relaySession{
		SourceSession: NewSourceSession(fmt.Sprintf("relay.%s.%d", topology.Generation(info), partition), wave),
		relay:         r, partition: partition, repeats: info.State.LastSeq,
		ends: map[string]bool{}, sent: map[int]*orderToSend{}, dropped: map[uint64]*orderToSend{},
	}
	if s.leaving, err = newLeaving(ctx, r.js, info, partition); err != nil {
		s.Close()
		return nil, err
	}
	if s.records, err = state.Open(r.js.Conn(), topology.Deliveries); err == nil {
		err = s.records.Refresh(ctx)
	}
	if err == nil {
		err = s.resume(ctx, info)
	}
	if err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// resume finds where to read on: after what was acknowledged, or, when the broker has forgotten that, after the bookmark.
func (s *relaySession) resume(ctx context.Context, stream *jetstream.StreamInfo) (err error) {
	reader := topology.Durable(ReaderRelay, s.partition)
	if s.bookmark, err = openBookmark(ctx, s.relay.js, reader, stream); err != nil {
		return fmt.Errorf("relay: %w", err)
	}
	acknowledged, err := bus.Consumer{Stream: topology.Commits, Durable: reader, Volatile: true}.Acknowledged(ctx, s.relay.js)
	s.start = max(acknowledged, s.bookmark.place) + 1
	return err
}

// Start is after what was relayed for sure.
func (s *relaySession) Start() uint64 { return s.start }

// Close lets go of the partition.
func (s *relaySession) Close() {
	s.SourceSession.Close()
	if s.records != nil {
		s.records.Close()
	}
}

// relayed is a commit on its way through the relay.
type relayed struct {
	commit *Commit
	err    error // it could not be decoded
}

// Begin decodes the commits, and finds out which of their deliveries were dropped before a crash.
func (s *relaySession) Begin(ctx context.Context, batch []bus.Delivery) ([]any, error) {
	values := make([]any, len(batch))
	var decisions []string
	for i, d := range batch {
		commit, err := s.relay.commits.Decode(d.Data)
		values[i] = relayed{commit, err}
		if err != nil || d.Sequence > s.repeats {
			continue
		}
		for j := range commit.Deliveries {
			decisions = append(decisions, commit.Deliveries[j].Decision)
		}
	}
	clear(s.ends)
	if len(decisions) == 0 {
		return values, nil
	}
	found, err := s.records.Get(ctx, decisions)
	if err != nil {
		return nil, fmt.Errorf("relay: %w", err)
	}
	for decision, entry := range found {
		if endsFull(entry) {
			s.ends[decision] = true
		}
	}
	return values, nil
}

func endsFull(e state.Entry) bool {
	var end deliveryEnd
	return json.Unmarshal(e.Value, &end) == nil && end.Reason == QueueFull
}

// send notes which delivery the next message of the wave is; false: it was dropped already.
func (s *relaySession) send(place int, o *orderToSend) bool {
	if s.ends[o.delivery.Decision] {
		s.dropped[o.ordinal] = o
		return false
	}
	s.sent[place] = o
	return true
}

// Commit waits for the confirmations, gives what found no room its end, then acknowledges.
func (s *relaySession) Commit(ctx context.Context, last uint64, ack func() error) error {
	if err := s.relay.faults.at(outputsSent); err != nil {
		return err
	}
	acks, _ := s.Wave().Wait(ctx) // each answer is looked at
	if err := ctx.Err(); err != nil {
		return err
	}
	for i := range acks {
		o := s.sent[i]
		switch {
		case acks[i].Err == nil:
		case o != nil && isFull(acks[i].Err):
			s.dropped[o.ordinal] = o
		default:
			return acks[i].Err
		}
	}
	clear(s.sent)
	if err := s.drop(ctx); err != nil {
		return err
	}
	if err := s.relay.faults.at(outputsConfirmed); err != nil {
		return err
	}
	if err := s.SourceSession.Commit(ctx, last, ack); err != nil {
		return err
	}
	clear(s.leaving.last)
	if err := s.relay.faults.at(outputsAcked); err != nil {
		return err
	}
	if err := s.bookmark.pass(ctx, last); err != nil {
		s.relay.log.Debug("go on without a new bookmark", "partition", s.partition, "error", err)
	}
	return nil
}

// drop gives the deliveries that found no room their records, and then states their ends in the log, in order.
func (s *relaySession) drop(ctx context.Context) error {
	if len(s.dropped) == 0 {
		return nil
	}
	var orders []*orderToSend
	for _, o := range s.dropped {
		orders = append(orders, o)
	}
	clear(s.dropped)
	slices.SortFunc(orders, func(a, b *orderToSend) int { return cmp.Compare(a.ordinal, b.ordinal) })
	mine, err := s.record(ctx, orders)
	if err != nil {
		return fmt.Errorf("relay: %w", err)
	}
	for i, o := range orders {
		if !mine[i] {
			continue // a former owner got it into the queue: its end is deliver's to state
		}
		m, err := s.end(o)
		if err != nil {
			return fmt.Errorf("relay: %w", err)
		}
		if _, err := s.Wave().Publish(m); err != nil {
			return err
		}
	}
	s.relay.log.Warn("deliveries dropped: their destination's queue is full", "partition", s.partition,
		"dropped", len(orders), "destination", orders[0].delivery.Destination)
	return nil
}

// record creates the records, and tells which of the deliveries have ended here: now, or before a crash.
func (s *relaySession) record(ctx context.Context, orders []*orderToSend) (mine []bool, err error) {
	var writes []state.Write
	for _, o := range orders {
		value, err := json.Marshal(deliveryEnd{State: "dropped", Reason: QueueFull, At: o.at.Time()})
		if err != nil {
			return nil, err
		}
		writes = append(writes, state.Write{Key: o.delivery.Decision, Value: value})
	}
	_, conflicts, err := s.records.Put(ctx, writes)
	if err != nil {
		return nil, err
	}
	mine = make([]bool, len(orders))
	for i := range mine {
		mine[i] = true
	}
	if len(conflicts) == 0 {
		return mine, nil
	}
	var keys []string
	for _, i := range conflicts {
		keys = append(keys, writes[i].Key)
	}
	if err := s.records.Refresh(ctx); err != nil {
		return nil, err
	}
	found, err := s.records.Get(ctx, keys)
	if err != nil {
		return nil, err
	}
	for _, i := range conflicts {
		mine[i] = endsFull(found[writes[i].Key])
	}
	return mine, nil
}

// end is the record of the log that states a dropped delivery's end, in the words of deliver's own.
func (s *relaySession) end(o *orderToSend) (*nats.Msg, error) {
	d := o.delivery
	properties, err := json.Marshal(map[string]any{
		"decision": d.Decision, "campaign": d.Campaign, "destination": d.Destination, "template": d.Template,
		"outcome": "dropped", "reason": QueueFull, "response": "", "attempt": 0,
	})
	if err != nil {
		return nil, err
	}
	e := event.Event{
		ID: "delivery-" + d.Decision, Type: event.Delivery, Name: "Delivery", Profile: d.Profile,
		Occurred: o.at, Accepted: o.at, Properties: properties, Trace: d.Trace, Source: s.Source(s.partition, o.ordinal),
	}
	data, err := e.Encode()
	if err != nil {
		return nil, err
	}
	return &nats.Msg{Subject: topology.Subject(topology.Events, s.partition), Data: data}, nil
}
