package pipeline

import (
	"context"
	"fmt"

	"github.com/ThreeDotsLabs/watermill/message"

	"attune/pipeline/bus"
	"attune/pipeline/topology"
)

// Point is a place at which a test may let a worker die.
type Point = point

// The points that tests name; Points is how many there are.
const (
	ClaimBegun      = claimBegun
	TailRead        = tailRead
	BatchComputed   = batchComputed
	CommitEncoded   = commitEncoded
	CommitSent      = commitSent
	CommitStored    = commitStored
	CommitNoted     = commitNoted
	FoldBegun       = foldBegun
	OutputsSent     = outputsSent
	RangeCollected  = rangeCollected
	RangeJournalled = rangeJournalled
	RangeWritten    = rangeWritten
	Points          = points
)

// FailAt asks strike at every point.
func (c *CustomerConfig) FailAt(strike func(Point) error) { c.faults = strike }

// FailAt asks strike at every point.
func (r *Relay) FailAt(strike func(Point) error) { r.faults = strike }

// FailAt asks strike at every point.
func (c *SinkConfig) FailAt(strike func(Point) error) { c.faults = strike }

// SubscriberThrough reads as Subscriber does, with something around each session.
func (c *Customer) SubscriberThrough(wrap func(bus.Session) bus.Session) *bus.Subscriber {
	return bus.NewSubscriber(c.config.JetStream, bus.SubscriberConfig{
		Stream: topology.Events, Reader: ReaderCustomer, Open: through(c.open, wrap), Whole: true, Log: c.config.Log,
	})
}

// SubscriberThrough reads as Subscriber does, with something around each session.
func (r *Relay) SubscriberThrough(wrap func(bus.Session) bus.Session) *bus.Subscriber {
	return bus.NewSubscriber(r.js, bus.SubscriberConfig{
		Stream: topology.Commits, Reader: ReaderRelay, Open: through(r.open, wrap), Batch: 64, Log: r.log,
	})
}

func through(open bus.Opener, wrap func(bus.Session) bus.Session) bus.Opener {
	return func(ctx context.Context, topic string) (bus.Session, error) {
		s, err := open(ctx, topic)
		if err != nil {
			return nil, err
		}
		return wrap(s), nil
	}
}

// InMemory is how many profiles a session of the customer chain has in memory, or notes of what is to be folded, if
// these are more.
func InMemory(s bus.Session) int {
	c := s.(*partition).cache
	c.mu.Lock()
	defer c.mu.Unlock()
	return max(c.entries.count, len(c.dirty))
}

// Evict drops every profile that no commit under way holds, as if those that are not folded could go too.
func Evict(s bus.Session) {
	c := s.(*partition).cache
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, block := range c.entries.blocks {
		for i := range block {
			if e := &block[i]; e.id != "" && e.pinned == 0 && e.in != &c.spare {
				if e.in != nil {
					e.in.remove(e)
				}
				if e.since != 0 { // its fold never comes
					e.since = 0
					c.soiled--
				}
				c.entries.remove(e)
			}
		}
	}
}

// AsNews makes every record handed over one of a source of its own: none is a repeat.
func AsNews(m *message.Message) {
	h := bus.From(m.Context())
	for i, value := range h.Values {
		source := &value.(*record).event.Source
		source.Name, source.After = fmt.Sprint(source.Name, h.Batch[i].Sequence), 0
	}
}
