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
// asked for, which may be moments old; Fresh returns what is stored now. Put returns the indexes of the writes that lost
// to another one, and stores the others in order. One goroutine uses it.
type Bucket interface {
	Get(ctx context.Context, keys []string) (map[string]state.Entry, error)
	Fresh(ctx context.Context, keys []string) (map[string]state.Entry, error)
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

// write is one compare-and-set.
type write = state.Write

// flush stores what was set since the last time; false as for store.
func (o *overlay) flush(ctx context.Context, b Bucket) (bool, error) {
	keys := o.changed
	if len(keys) == 0 {
		return true, nil
	}
	o.changed, o.dirty = nil, map[string]bool{}
	writes := make([]write, len(keys))
	for i, key := range keys {
		writes[i] = write{Key: key, Value: o.entries[key].Value, Revision: o.entries[key].Revision}
	}
	revisions, conflicts, err := b.Put(ctx, writes)
	if err != nil || len(conflicts) > 0 {
		return false, err
	}
	for i, key := range keys {
		e := o.entries[key]
		e.Revision = revisions[i]
		o.entries[key] = e
	}
	return true, nil
}

// names are the keys that a call's ids have: u.<hash> and a.<hash> hold a place.
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

// ownerKey has the holder of a profile.
func ownerKey(profile string) string { return "p." + profile }

// identities resolves ids to profiles.
type identities struct {
	overlay
	answered map[string]bool // anonymous keys that decided about a call of this round
	apart    map[string]bool // profiles that the call at hand must not become one with: it was refused
	ties     bool            // the call at hand ties profiles together that are not linked yet
}

func (i *identities) holder(profile string) holder { return readHolder(i.get(ownerKey(profile))) }

// root is where a profile goes on.
func (i *identities) root(p place) place {
	for into := p; into != ""; into = i.holder(profileAt(p)).Into {
		p = into
	}
	return p
}

// free tells whether a call may make a profile its user's, found by one of its keys: a visitor's, the user's own, or that
// of the user whom an alias names. Two users never become one but by an alias.
func (i *identities) free(kind event.Type, n *names, key string, at place) bool {
	switch owner := i.holder(profileAt(at)).Owner; owner {
	case "", n.user:
		return true
	default:
		return kind == event.Alias && (key == n.previousUser || owner == n.previousUser)
	}
}

// tied are the profiles that a call shows to be one, where each goes on: its user's, or else the first that the user can
// take over, and the others.
func (i *identities) tied(kind event.Type, n *names) (base place, others []place) {
	if n.user == "" {
		return "", nil
	}
	keys := []string{n.user, n.previousAnonymous, n.previousUser, n.anonymous}
	if i.get(n.previousUser) != "" {
		keys[1] = "" // then previousId is the user
	}
	for _, key := range keys {
		at := i.root(i.get(key))
		switch {
		case key == "" || at == "" || key != n.user && !i.free(kind, n, key, at):
		case base == "":
			base = at
		case at != base && !slices.Contains(others, at):
			others = append(others, at)
		}
	}
	return base, others
}

// owners are the further keys to read: whom the profiles found belong to, and whether an earlier attempt has
// claimed the fresh one. A call that changes no link needs none, which is most of them.
func (i *identities) owners(n *names, fresh place) []string {
	at := i.get(cmp.Or(n.user, n.anonymous))
	ids := n.keys()
	if at != "" && !slices.ContainsFunc(ids, func(key string) bool { return i.get(key) != at }) {
		return nil
	}
	var keys []string
	if at == "" {
		keys = append(keys, ownerKey(profileAt(fresh)))
	}
	for _, key := range ids {
		if found := i.get(key); found != "" {
			keys = append(keys, ownerKey(profileAt(found)))
		}
	}
	return keys
}

// resolve finds the call's profile by the rules in the package comment; fresh is the place of a new one. False means that
// the round must be stored before this call: it moves an anonymous id which decided about an earlier call of the round, and
// a repeat of that call after a crash would find the new place; or it ties profiles together, which is the linker's to do.
func (i *identities) resolve(kind event.Type, n *names, fresh place) (profile string, ok bool) {
	if n.user == "" {
		i.answered[n.anonymous] = true
		if at := i.get(n.anonymous); at != "" {
			return profileAt(at), true
		}
		i.set(n.anonymous, fresh)
		return profileAt(fresh), true
	}
	at := i.get(n.user)
	claims := at == ""
	if claims {
		at = i.adopt(kind, n, fresh)
	}
	links := []string{n.anonymous}
	if kind == event.Alias && i.get(n.previousUser) == "" {
		links = append(links, n.previousAnonymous)
	}
	links = slices.DeleteFunc(links, func(key string) bool { return key == "" || i.get(key) == at })
	for _, key := range links {
		if i.answered[key] && i.get(key) != "" {
			return "", false
		}
	}
	if i.unlinked(kind, n, at) {
		i.ties = true
		return "", false
	}
	if claims || len(links) > 0 {
		h := i.holder(profileAt(at))
		if claims {
			h.Owner = n.user
		}
		h.note(n.user)
		h.note(links...)
		for _, key := range n.keys() {
			if i.get(key) == at {
				h.note(key)
			}
		}
		i.set(ownerKey(profileAt(at)), h.record())
	}
	if claims {
		i.set(n.user, at)
	}
	for _, key := range links {
		i.set(key, at)
	}
	return profileAt(at), true
}

// unlinked tells whether the call ties another profile to the one it goes to, or was led to one that goes on in another.
func (i *identities) unlinked(kind event.Type, n *names, at place) bool {
	if i.get(n.user) == at && (n.anonymous == "" || i.get(n.anonymous) == at) && kind != event.Alias {
		return false // most calls
	}
	for _, key := range n.keys() {
		found := i.get(key)
		if found == "" {
			continue
		}
		if i.holder(profileAt(found)).Into != "" {
			return true
		}
		if key == n.previousAnonymous && i.get(n.previousUser) != "" {
			continue // then previousId is the user
		}
		if found != at && !i.apart[profileAt(found)] && i.free(kind, n, key, found) {
			return true
		}
	}
	return false
}

// adopt finds the profile that a new user takes over: the one its other id had, unless it belongs to another user.
func (i *identities) adopt(kind event.Type, n *names, fresh place) place {
	for _, key := range []string{n.previousAnonymous, n.previousUser, n.anonymous} {
		if key == "" {
			continue
		}
		if at := i.get(key); at != "" && i.free(kind, n, key, at) {
			return at
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
