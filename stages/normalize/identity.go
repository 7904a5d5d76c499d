package normalize

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"slices"
	"strings"

	"attune/pipeline/event"
	"attune/pipeline/state"
)

// Bucket is many keys of a key-value store at once, with compare-and-set. Get returns an entry for every key
// asked for; Put returns the indexes of the writes that lost to another one, and stores the others in order.
// One goroutine uses it.
type Bucket interface {
	Get(ctx context.Context, keys []string) (map[string]state.Entry, error)
	Put(ctx context.Context, writes []state.Write) (revisions []uint64, conflicts []int, err error)
	Close()
}

// overlay is a bucket's keys with the changes of one round over them, stored at its end.
type overlay struct {
	entries map[string]state.Entry
	dirty   map[string]bool
	changed []string // in order
}

func newOverlay(entries map[string]state.Entry) overlay {
	return overlay{entries: entries, dirty: map[string]bool{}}
}

func (o *overlay) get(key string) string { return string(o.entries[key].Value) }

func (o *overlay) set(key, value string) {
	e := o.entries[key]
	e.Value = []byte(value)
	o.entries[key] = e
	if !o.dirty[key] {
		o.dirty[key] = true
		o.changed = append(o.changed, key)
	}
}

// store writes the keys; false means that someone else changed one of them: read again and decide anew.
func (o *overlay) store(ctx context.Context, b Bucket, keys []string) (bool, error) {
	if len(keys) == 0 {
		return true, nil
	}
	writes := make([]state.Write, len(keys))
	for i, key := range keys {
		writes[i] = state.Write{Key: key, Value: o.entries[key].Value, Revision: o.entries[key].Revision}
	}
	_, conflicts, err := b.Put(ctx, writes)
	return len(conflicts) == 0, err
}

// names are the keys that a call's ids have: u.<hash> and a.<hash> hold a profile.
type names struct {
	user, anonymous                 string
	previousUser, previousAnonymous string // an alias does not say which of them its previousId is
}

func namesOf(c *call, hash hasher) (n names) {
	user := func(id string) string { return UserKey(hash, id) }
	anonymous := func(id string) string { return AnonymousKey(hash, id) }
	if c.User != "" {
		n.user = user(c.User)
	}
	if c.Anonymous != "" {
		n.anonymous = anonymous(c.Anonymous)
	}
	if c.Previous != "" {
		n.previousUser, n.previousAnonymous = user(c.Previous), anonymous(c.Previous)
	}
	return n
}

func (n *names) keys() []string {
	return slices.DeleteFunc([]string{n.user, n.anonymous, n.previousUser, n.previousAnonymous}, func(k string) bool { return k == "" })
}

// ownerKey holds the user key that a profile belongs to.
func ownerKey(profile string) string { return "p." + profile }

// identities resolves ids to profiles.
type identities struct {
	overlay
	answered map[string]bool // anonymous keys that decided about a call of this round
}

// owners are the further keys to read: whom the profiles found belong to, and whether an earlier attempt has
// claimed the fresh one. A call that changes no link needs none, which is most of them.
func (i *identities) owners(n *names, fresh string) []string {
	profile := i.get(cmp.Or(n.user, n.anonymous))
	var keys []string
	if profile == "" {
		keys = append(keys, ownerKey(fresh))
	}
	changes := profile == ""
	for _, key := range n.keys() {
		found := i.get(key)
		changes = changes || found != profile
		if found != "" {
			keys = append(keys, ownerKey(found))
		}
	}
	if !changes {
		return nil
	}
	return keys
}

// resolve finds the call's profile by the rules in the package comment; fresh is the id for a new one. False
// means that this call moves an anonymous id which decided about an earlier call of the round: the round must
// be stored first, or a repeat of that call after a crash would find the new place.
func (i *identities) resolve(kind event.Type, n *names, fresh string) (profile string, ok bool) {
	if n.user == "" {
		i.answered[n.anonymous] = true
		if profile := i.get(n.anonymous); profile != "" {
			return profile, true
		}
		i.set(n.anonymous, fresh)
		return fresh, true
	}
	profile = i.get(n.user)
	claims := profile == ""
	if claims {
		profile = i.adopt(kind, n, fresh)
	}
	links := []string{n.anonymous}
	if kind == event.Alias && i.get(n.previousUser) == "" {
		links = append(links, n.previousAnonymous)
	}
	links = slices.DeleteFunc(links, func(key string) bool { return key == "" || i.get(key) == profile })
	for _, key := range links {
		if i.answered[key] && i.get(key) != "" {
			return "", false
		}
	}
	if claims {
		i.set(ownerKey(profile), n.user)
		i.set(n.user, profile)
	}
	for _, key := range links {
		i.set(key, profile)
	}
	return profile, true
}

// adopt finds the profile that a new user takes over: the one its other id had, unless it belongs to another user.
func (i *identities) adopt(kind event.Type, n *names, fresh string) string {
	for _, key := range []string{n.previousAnonymous, n.previousUser, n.anonymous} {
		if key == "" {
			continue
		}
		profile := i.get(key)
		if profile == "" {
			continue
		}
		owner := i.get(ownerKey(profile))
		if owner == "" || owner == n.user || kind == event.Alias && owner == n.previousUser {
			return profile
		}
	}
	return fresh
}

// store writes what the round changed. A profile is claimed before anything leads to it, so that no two users
// ever share one; and users come before anonymous ids, so that whatever a crash leaves of it, a repeat finds
// each new user where the first attempt put it.
func (i *identities) store(ctx context.Context, b Bucket) (bool, error) {
	rank := func(key string) int { return strings.Index("pua", key[:1]) }
	slices.SortStableFunc(i.changed, func(a, b string) int { return cmp.Compare(rank(a), rank(b)) })
	claims := 0
	for claims < len(i.changed) && rank(i.changed[claims]) == 0 {
		claims++
	}
	if settled, err := i.overlay.store(ctx, b, i.changed[:claims]); err != nil || !settled {
		return false, err
	}
	return i.overlay.store(ctx, b, i.changed[claims:])
}

// profileID derives a new profile's id from the RAW stream and the sequence that first made it, so that a
// repeat after a crash makes the same one: 80 bits, 16 characters.
func profileID(stream string, sequence uint64) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s/%d", stream, sequence))
	return strings.ToLower(base32.StdEncoding.EncodeToString(sum[:10]))
}
