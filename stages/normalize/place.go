package normalize

import (
	"cmp"
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"attune/pipeline/event"
)

// A place is what an id leads to: a profile, and when its first call was accepted and which it was, as
// "ge2tqnbrgyydcmry 1777636800123 4711". Of two profiles the one that began earlier takes in the other; one whose
// beginning is not written, as earlier versions left it out, is older than all others.
type place = string

func newPlace(profile string, began event.Instant, ordinal uint64) place {
	return profile + " " + strconv.FormatInt(int64(began), 10) + " " + strconv.FormatUint(ordinal, 10)
}

// profileAt is the profile's id.
func profileAt(p place) string {
	id, _, _ := strings.Cut(p, " ")
	return id
}

// older tells which of two profiles takes in the other: an order that nothing changes, so that links make no circle.
func older(a, b place) bool {
	began := func(p place) (at, ordinal uint64) {
		_, text, _ := strings.Cut(p, " ")
		first, second, _ := strings.Cut(text, " ")
		at, _ = strconv.ParseUint(first, 10, 64) // none: 0
		ordinal, _ = strconv.ParseUint(second, 10, 64)
		return at, ordinal
	}
	atA, ordinalA := began(a)
	atB, ordinalB := began(b)
	return cmp.Or(cmp.Compare(atA, atB), cmp.Compare(ordinalA, ordinalB), strings.Compare(profileAt(a), profileAt(b))) < 0
}

// Limits of what can become one customer.
const (
	// MaxMerges is how many profiles one takes in within mergeWindow at most, those that they had taken in included.
	MaxMerges   = 50
	mergeWindow = 24 * 60 * 60 * 1000 // milliseconds
	// maxKeys is how many of the ids that lead to a profile are kept: the latest. Those beyond lead to the loser after a
	// merge, which forwards what comes.
	maxKeys = 200
)

// holder is what is kept of a profile beside its ids: under ownerKey, once it belongs to a user or has been merged.
type holder struct {
	Owner string   `json:"owner,omitempty"` // the key of a user that leads to it; empty: a visitor's
	Keys  []string `json:"keys,omitempty"`  // the ids that lead to it, or did, or are about to
	Into  place    `json:"into,omitempty"`  // the profile in which it goes on
	By    string   `json:"by,omitempty"`    // the call that said so
	Took  []int64  `json:"took,omitempty"`  // when it took in others, by their calls' `accepted`
}

// readHolder reads a record; earlier versions wrote the owner's key and nothing else.
func readHolder(record string) (h holder) {
	if !strings.HasPrefix(record, "{") {
		return holder{Owner: record}
	}
	_ = json.Unmarshal([]byte(record), &h) // nobody else writes it
	return h
}

func (h *holder) record() string {
	data, _ := json.Marshal(h) // strings and numbers always can be
	return string(data)
}

// note adds ids that lead to it.
func (h *holder) note(keys ...string) {
	for _, key := range keys {
		if key != "" && !slices.Contains(h.Keys, key) {
			h.Keys = append(h.Keys, key)
		}
	}
	h.Keys = slices.Delete(h.Keys, 0, max(0, len(h.Keys)-maxKeys))
}

// takes tells whether it may take in another one now, by its call's clock.
func (h *holder) takes(other *holder, now event.Instant) bool {
	recent := 1
	for _, at := range slices.Concat(h.Took, other.Took) {
		if at > int64(now)-mergeWindow {
			recent++
		}
	}
	return recent <= MaxMerges
}

// take notes that it takes in another one, with its ids.
func (h *holder) take(other *holder, now event.Instant) {
	h.note(other.Keys...)
	h.Took = append(slices.Concat(h.Took, other.Took), int64(now))
	slices.Sort(h.Took)
	h.Took = slices.Delete(h.Took, 0, max(0, len(h.Took)-MaxMerges))
}
