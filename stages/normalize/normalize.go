package normalize

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"attune/pipeline"
	"attune/pipeline/bus"
	"attune/pipeline/event"
	"attune/pipeline/state"
	"attune/pipeline/topology"
	"attune/pipeline/vault"
	"attune/stages/normalize/claims"
)

// Vault keeps personal fields. Merge takes over what is newer, Move lets a profile's fields be another one's, also those
// that are still to come. One goroutine uses it.
type Vault interface {
	Move(ctx context.Context, from, to string) error
	Merge(ctx context.Context, updates map[string]map[string]vault.Field) error
	Close()
}

// Claims remembers which call owns an event id. Claim returns the owners of the ids: these claims, or who came first. One
// goroutine uses it.
type Claims interface {
	Find(ctx context.Context, keys []claims.Key) (map[claims.Key]claims.Claim, error)
	Claim(ctx context.Context, news []claims.Claim) (map[claims.Key]claims.Claim, error)
	Close()
}

// Config is what the chain needs.
type Config struct {
	JetStream  jetstream.JetStream
	Partitions int
	Hash       *vault.Hasher
	// Settings are the installation's.
	Settings Settings
	// Throttle holds the chain back while the log's readers lag; nil: never.
	Throttle *pipeline.Throttle
	Metrics  prometheus.Registerer
	Log      *slog.Logger // nil: nothing is logged
}

// Stage normalizes calls: one session for each partition of RAW that it owns. Close it when all of them are.
type Stage struct {
	config     Config
	stream     string // names this RAW stream among all that ever were
	split      *separator
	identities *state.Cache
	claims     *claims.Log
	outcome    *prometheus.CounterVec
}

// New prepares the stage. The RAW stream must exist.
func New(ctx context.Context, config Config) (*Stage, error) {
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}
	raw, err := config.JetStream.Stream(ctx, topology.Raw)
	if err != nil {
		return nil, fmt.Errorf("normalize: look up stream %s: %w", topology.Raw, err)
	}
	s := &Stage{
		config: config, stream: topology.Generation(raw.CachedInfo()), split: newSeparator(config.Hash, config.Settings.Declared(), config.Settings.PhoneRegion),
		outcome: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "attune_normalize_calls_total", Help: "Calls that were normalized, by outcome: event, repeated, or the reason for which they were parked.",
		}, []string{"outcome"}),
	}
	if s.identities, err = state.NewCache(ctx, config.JetStream, topology.Identities, identitiesKept, config.Log); err != nil {
		return nil, fmt.Errorf("normalize: %w", err)
	}
	if s.claims, err = claims.Open(ctx, config.JetStream, config.Log); err != nil {
		s.identities.Close()
		return nil, fmt.Errorf("normalize: %w", err)
	}
	if config.Metrics != nil {
		remembered := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "attune_normalize_event_ids", Help: "Event ids that are remembered to tell repeats; each takes 32 to 64 bytes of this process.",
		}, func() float64 { return float64(s.claims.Len()) })
		if err := errors.Join(config.Metrics.Register(s.outcome), config.Metrics.Register(remembered)); err != nil {
			s.Close()
			return nil, fmt.Errorf("normalize: register metrics: %w", err)
		}
	}
	return s, nil
}

// Close lets go of what the stage remembers.
func (s *Stage) Close() {
	s.claims.Close()
	s.identities.Close()
}

// Subscriber reads RAW for this stage.
func (s *Stage) Subscriber() *bus.Subscriber {
	return bus.NewSubscriber(s.config.JetStream, bus.SubscriberConfig{
		Stream: topology.Raw, Reader: pipeline.ReaderNormalize, Open: s.open, Whole: true, Delete: true, Volatile: true, Pace: pipeline.Beat, Batch: batchMessages, BatchBytes: batchBytes, Log: s.config.Log,
	})
}

// Handle sends on what a batch's preparation made of its calls: the Router's handler.
func (s *Stage) Handle(m *message.Message) ([]*message.Message, error) {
	h := bus.From(m.Context())
	if h == nil {
		return nil, fmt.Errorf("normalize: message %s did not come from its subscriber", m.UUID)
	}
	owner, ok := h.Session.(*session)
	if !ok {
		return nil, fmt.Errorf("normalize: message %s came with a foreign session", m.UUID)
	}
	out := output{cause: m, records: bus.NewBundle(len(owner.calls))}
	err := h.Each(func(d bus.Delivery, value any) error {
		calls := value.([]prepared)
		for i := range calls {
			if err := s.send(&out, d, owner, &calls[i]); err != nil {
				return err
			}
		}
		return nil
	})
	return append(out.letters, out.records.Messages(m)...), err
}

// output is what a batch's calls lead to: dead letters, and records for the log in the order of the calls.
type output struct {
	cause   *message.Message
	letters []*message.Message
	records *bus.Bundle
}

// send makes what one call leads to: an event, or a dead letter; nothing for a repeat.
func (s *Stage) send(out *output, d bus.Delivery, owner *session, p *prepared) error {
	switch {
	case p.parked != nil:
		return s.park(out, d, owner, p, p.parked)
	case p.event == nil:
		s.outcome.WithLabelValues("repeated").Inc()
		return s.sendJoins(out, owner, p)
	}
	e := p.event
	e.Joins = p.joins
	if err := s.record(out, owner, p, e); err != nil {
		return err
	}
	s.outcome.WithLabelValues("event").Inc()
	return nil
}

// record sends an event to the log of its profile.
func (s *Stage) record(out *output, owner *session, p *prepared, e *event.Event) error {
	partition := topology.Partition(e.Profile, s.config.Partitions)
	if e.Source.Name == "" { // the same again when the batch is handed over again
		e.Source = owner.Source(partition, p.ordinal)
	}
	data, err := e.Encode()
	if err != nil {
		return err
	}
	out.records.Add(bus.Record{Subject: topology.Subject(topology.Events, partition), Data: data})
	return nil
}

// park sends a call to the dead letters, and its links to the log: they are made.
func (s *Stage) park(out *output, d bus.Delivery, owner *session, p *prepared, err error) error {
	reason, _ := pipeline.IsParked(err)
	letter := pipeline.DeadLetter{
		Reason: reason, Error: errors.Unwrap(err).Error(), Payload: p.raw.Payload, Subject: d.Subject, Position: d.Sequence, Index: p.index,
		Historical: p.raw.Historical, SentAt: event.At(p.raw.SentAt), Accepted: event.At(p.raw.Accepted), KeepUntil: p.raw.KeepUntil,
	}
	letter.Fit(s.config.JetStream.Conn().MaxPayload())
	m, err := letter.Message(out.cause, pipeline.ReaderNormalize)
	if err != nil {
		return err
	}
	out.letters = append(out.letters, m)
	s.outcome.WithLabelValues(reason).Inc()
	return s.sendJoins(out, owner, p)
}
