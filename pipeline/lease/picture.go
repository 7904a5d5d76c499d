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
//
// Who lives is told by the times at which the broker stored the entries, the newest of which is the present: a worker
// whose heartbeat is older than that by more than [TTL] is dead, whether the broker has dropped it or not. For a broker
// that was killed may bring heartbeats back that had long expired, and never drop them again (seen with nats-server
// v2.15.2: of a key that is kept once, what expires last is marked as deleted on disk, what was overwritten before is not).
type Picture struct {
	Members map[string]Member // the living, by id
	Claims  map[Topic]Claim

	beats    map[string]beat // of all whose heartbeat is there
	now      time.Time       // the broker's
	revision uint64          // which told it
	live     bool            // what was there is read: entries come as they are stored
}

// beat is when a heartbeat was stored.
type beat struct {
	at       time.Time
	revision uint64
}

const (
	memberPrefix = "worker."
	claimPrefix  = "claim."
)

func (t Topic) key() string { return claimPrefix + t.Chain + "." + t.Name }

func newPicture() *Picture {
	return &Picture{Members: map[string]Member{}, Claims: map[Topic]Claim{}, beats: map[string]beat{}}
}

// Look reads the bucket. Where nobody beats any more it may wait as long as from one heartbeat to the next.
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
	var now present
	var gone <-chan time.Time // what was stored last is no longer there
	for gone == nil || p.revision < now.revision {
		select {
		case entry := <-watch.Updates():
			if entry != nil {
				p.note(entry)
				continue
			}
			if now, err = lookUp(ctx, js); err != nil {
				return nil, err
			}
			gone = time.After(beatEvery)
		case <-gone:
			now.revision = 0
		case <-ctx.Done():
			return nil, fmt.Errorf("read bucket %s: %w", topology.Leases, ctx.Err())
		}
	}
	p.now = now.at // whoever only looks beats no heartbeat that tells it
	p.mourn()
	return p, nil
}

// present is the broker's time, and the revision of what it had stored last by then. A watch's first entries are without
// those that are replaced while they are read; their successors follow, up to this revision at the latest.
type present struct {
	at       time.Time
	revision uint64
}

func lookUp(ctx context.Context, js jetstream.JetStream) (present, error) {
	stream, err := js.Stream(ctx, "KV_"+topology.Leases)
	if err != nil {
		return present{}, fmt.Errorf("read bucket %s: %w", topology.Leases, err)
	}
	info := stream.CachedInfo()
	return present{info.TimeStamp, info.State.LastSeq}, nil
}

// note takes over one entry and tells whether other workers, or what they serve, are there than before.
func (p *Picture) note(entry jetstream.KeyValueEntry) (moved bool) {
	if entry.Revision() > p.revision {
		p.pass(entry.Created())
		p.revision = entry.Revision()
	}
	moved = p.take(entry)
	return p.mourn() || moved
}

// pass moves the present. A time in which nothing was stored counts for nobody: it was the broker that was away. Whose
// heartbeat it then drops by itself is gone all the same, until the next one. Nor does it count that the broker's clock was
// set back, as where another node with another clock leads: what came before then came just before.
func (p *Picture) pass(now time.Time) {
	if gap := now.Sub(p.now); p.live && gap > TTL/2 || gap < 0 {
		for id, b := range p.beats {
			b.at = b.at.Add(gap)
			p.beats[id] = b
		}
	}
	p.now = now
}

// mourn tells whether somebody has died.
func (p *Picture) mourn() (died bool) {
	for id := range p.Members {
		if p.now.Sub(p.beats[id].at) > TTL {
			delete(p.Members, id)
			died = true
		}
	}
	return died
}

// graveAge is how long a dead worker's heartbeat is left to the broker to drop.
const graveAge = 30 * TTL

// graves are the heartbeats that the broker should have dropped long ago, by worker.
func (p *Picture) graves() map[string]beat {
	var all map[string]beat
	for id, b := range p.beats {
		if p.now.Sub(b.at) <= graveAge {
			continue
		}
		if all == nil {
			all = map[string]beat{}
		}
		all[id] = b
	}
	return all
}

func (p *Picture) take(entry jetstream.KeyValueEntry) (moved bool) {
	stored := entry.Operation() == jetstream.KeyValuePut
	if id, ok := strings.CutPrefix(entry.Key(), memberPrefix); ok {
		before, known := p.Members[id]
		var now Member
		if !stored || json.Unmarshal(entry.Value(), &now) != nil {
			delete(p.Members, id)
			delete(p.beats, id)
			return known
		}
		p.Members[id], p.beats[id] = now, beat{entry.Created(), entry.Revision()}
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
