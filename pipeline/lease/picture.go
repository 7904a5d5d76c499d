package lease

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"attune/pipeline/topology"
)

// Member is a worker as its heartbeat tells.
type Member struct {
	ID      string              `json:"id"`
	Host    string              `json:"host"`
	PID     int                 `json:"pid"`
	Listen  string              `json:"listen,omitempty"` // its HTTP address
	Started time.Time           `json:"started"`
	Chains  map[string][]string `json:"chains"` // the topics that it serves, by chain
	// Leaving: it hands over and takes nothing more.
	Leaving bool `json:"leaving,omitempty"`
}

// Claim says who holds a topic.
type Claim struct {
	Worker   string // its id; empty: nobody
	Since    time.Time
	revision uint64
}

// Topic names what is held: a partition's number, a destination, or a sink's name, of a chain.
type Topic struct{ Chain, Name string }

// Picture is what the bucket says at a moment.
type Picture struct {
	Members map[string]Member // by id
	Claims  map[Topic]Claim
}

const (
	memberPrefix = "worker."
	claimPrefix  = "claim."
)

func (t Topic) key() string { return claimPrefix + t.Chain + "." + t.Name }

func newPicture() *Picture {
	return &Picture{Members: map[string]Member{}, Claims: map[Topic]Claim{}}
}

// Look reads the bucket.
func Look(ctx context.Context, js jetstream.JetStream) (*Picture, error) {
	bucket, err := js.KeyValue(ctx, topology.Leases)
	if err != nil {
		return nil, fmt.Errorf("open bucket %s: %w", topology.Leases, err)
	}
	watch, err := bucket.WatchAll(ctx)
	if err != nil {
		return nil, fmt.Errorf("read bucket %s: %w", topology.Leases, err)
	}
	defer func() { _ = watch.Stop() }() // it fails only without a connection, and then it is stopped too
	p := newPicture()
	for {
		select {
		case entry := <-watch.Updates():
			if entry == nil {
				return p, nil
			}
			p.note(entry)
		case <-ctx.Done():
			return nil, fmt.Errorf("read bucket %s: %w", topology.Leases, ctx.Err())
		}
	}
}

// note takes over one entry and tells whether other workers, or what they serve, are there than before.
func (p *Picture) note(entry jetstream.KeyValueEntry) (moved bool) {
	stored := entry.Operation() == jetstream.KeyValuePut
	if id, ok := strings.CutPrefix(entry.Key(), memberPrefix); ok {
		before, known := p.Members[id]
		var now Member
		if !stored || json.Unmarshal(entry.Value(), &now) != nil {
			delete(p.Members, id)
			return known
		}
		p.Members[id] = now
		return !known || before.Leaving != now.Leaving
	}
	rest, ok := strings.CutPrefix(entry.Key(), claimPrefix)
	chain, name, ok2 := strings.Cut(rest, ".")
	if !ok || !ok2 {
		return false
	}
	topic := Topic{chain, name}
	if p.Claims[topic].revision >= entry.Revision() {
		return false // our own write, known since its confirmation
	}
	claim := Claim{Since: entry.Created(), revision: entry.Revision()}
	if stored {
		claim.Worker = string(entry.Value())
	}
	p.Claims[topic] = claim
	return false
}

// shares gives the topics of a chain to those who stay.
func (p *Picture) shares(chain string) map[string]string {
	serves := map[string][]string{}
	for id, m := range p.Members {
		if topics := m.Chains[chain]; len(topics) > 0 && !m.Leaving {
			serves[id] = topics
		}
	}
	return share(chain, serves)
}

// Workers are the living ones, the oldest first.
func (p *Picture) Workers() []Member {
	var all []Member
	for _, m := range p.Members {
		all = append(all, m)
	}
	slices.SortFunc(all, func(a, b Member) int {
		if c := a.Started.Compare(b.Started); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	return all
}

// Holder is the living worker that holds a topic.
func (p *Picture) Holder(t Topic) (Member, bool) {
	m, ok := p.Members[p.Claims[t].Worker]
	return m, ok
}
