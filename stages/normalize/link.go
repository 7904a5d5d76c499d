package normalize

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"attune/pipeline/event"
)

// ReasonTooManyMerges is why two profiles stay apart that a call ties together.
const ReasonTooManyMerges = "too_many_merges"

// linker makes profiles one, for one partition of RAW. A link is a record of the loser that names the winner and the call
// that said so: by compare-and-set it is made once, and the younger of two profiles is always the loser. What the logs
// have to learn of it leaves with the call's event. So that a crash in between loses nothing, what a call is about to link
// is written down first, in one record of the partition: whoever takes over finds the calls there that will come again,
// and what they linked. A call whose event id is claimed ties nothing more when it comes again: its event may be in the log
// already, and what it would say now would be dropped as a repeat.
type linker struct {
	key        string // of that record
	identities Bucket
	vault      Vault
	pending    map[uint64][]string // losers by the ordinals of calls; nil: not read yet
	revision   uint64
}

// recall reads what a former owner was about to link, and keeps it from intending more: the record has a new revision.
func (l *linker) recall(ctx context.Context) error {
	for l.pending == nil {
		found, err := l.identities.Fresh(ctx, []string{l.key})
		if err != nil {
			return err
		}
		pending := map[uint64][]string{}
		if value := found[l.key].Value; value != nil {
			if err := json.Unmarshal(value, &pending); err != nil {
				return fmt.Errorf("read what is about to be linked: %w", err)
			}
		}
		l.revision = found[l.key].Revision
		if ok, err := l.write(ctx, pending); err != nil {
			return err
		} else if ok {
			l.pending = pending
		}
	}
	return nil
}

// intend writes down that a call is about to link a loser. Calls before the oldest given are through.
func (l *linker) intend(ctx context.Context, ordinal, oldest uint64, loser string) error {
	if slices.Contains(l.pending[ordinal], loser) {
		return nil
	}
	maps.DeleteFunc(l.pending, func(known uint64, _ []string) bool { return known < oldest })
	l.pending[ordinal] = append(l.pending[ordinal], loser)
	ok, err := l.write(ctx, l.pending)
	if err == nil && !ok {
		err = fmt.Errorf("this partition of RAW has another owner by now: it has written what is about to be linked")
	}
	return err
}

func (l *linker) write(ctx context.Context, pending map[uint64][]string) (ok bool, err error) {
	data, err := json.Marshal(pending)
	if err != nil {
		return false, err
	}
	revisions, conflicts, err := l.identities.Put(ctx, []write{{Key: l.key, Value: data, Revision: l.revision}})
	if err != nil || len(conflicts) > 0 {
		return false, err
	}
	l.revision = revisions[0]
	return true, nil
}

// link makes the profiles one that the call ties together, until nothing is left to be linked, and completes what an
// attempt before a crash has begun. Where its event id is claimed already there is nothing else to do.
func (l *linker) link(ctx context.Context, p *prepared, ours string, oldest uint64, claimed bool) error {
	for range attempts {
		done, err := l.try(ctx, p, ours, oldest, claimed)
		if err != nil {
			return err
		}
		if done {
			p.ties = false
			return nil
		}
	}
	return fmt.Errorf("profiles that call %s ties together changed under other hands %d times", ours, attempts)
}

// try is one attempt; false: someone else changed what it read.
func (l *linker) try(ctx context.Context, p *prepared, ours string, oldest uint64, claimed bool) (done bool, err error) {
	found, err := l.identities.Fresh(ctx, p.names.keys())
	if err != nil {
		return false, err
	}
	ids := &identities{overlay: newOverlay(found)}
	profiles := slices.Clone(l.pending[p.ordinal])
	for _, key := range p.names.keys() {
		profiles = append(profiles, profileAt(ids.get(key)))
	}
	if err := l.follow(ctx, ids, profiles); err != nil {
		return false, err
	}
	for _, key := range p.names.keys() {
		if at := ids.get(key); at != ids.root(at) {
			ids.set(key, ids.root(at))
		}
	}
	if ok, err := ids.flush(ctx, l.identities); err != nil || !ok {
		return false, err
	}
	p.joins = p.joins[:0]
	for _, loser := range l.pending[p.ordinal] {
		if h := ids.holder(loser); h.By == ours {
			p.joins = append(p.joins, event.Join{Loser: loser})
			if err := l.complete(ctx, p, loser, ids.root(h.Into)); err != nil {
				return false, err
			}
		}
	}
	base, others := ids.tied(p.call.Type, &p.names)
	p.winner = profileAt(base)
	if claimed {
		return true, nil
	}
	for _, other := range others {
		winner, loser := base, other
		if older(other, base) {
			winner, loser = other, base
		}
		w, lost := ids.holder(profileAt(winner)), ids.holder(profileAt(loser))
		if !w.takes(&lost, p.call.Accepted) {
			p.joins = append(p.joins, event.Join{Loser: profileAt(other), Refused: ReasonTooManyMerges})
			continue
		}
		if err := l.intend(ctx, p.ordinal, oldest, profileAt(loser)); err != nil {
			return false, err
		}
		w.Owner = p.names.user
		w.take(&lost, p.call.Accepted)
		w.note(p.names.user)
		for _, key := range p.names.keys() {
			if at := ids.root(ids.get(key)); at == winner || at == loser {
				w.note(key)
			}
		}
		ids.set(ownerKey(profileAt(winner)), w.record())
		if ok, err := ids.flush(ctx, l.identities); err != nil || !ok {
			return false, err
		}
		lost.Into, lost.By, lost.Owner = winner, ours, ""
		ids.set(ownerKey(profileAt(loser)), lost.record())
		if ok, err := ids.flush(ctx, l.identities); err != nil || !ok {
			return false, err
		}
		if err := l.complete(ctx, p, profileAt(loser), winner); err != nil {
			return false, err
		}
		p.joins = append(p.joins, event.Join{Loser: profileAt(loser)})
		base, p.winner = winner, profileAt(winner)
	}
	return true, nil
}

// follow reads what is kept of profiles, and of those in which they go on.
func (l *linker) follow(ctx context.Context, ids *identities, profiles []string) error {
	for len(profiles) > 0 {
		var keys []string
		for _, profile := range profiles {
			if _, known := ids.entries[ownerKey(profile)]; !known && profile != "" {
				keys = append(keys, ownerKey(profile))
			}
		}
		if len(keys) == 0 {
			return nil
		}
		found, err := l.identities.Fresh(ctx, unique(keys))
		if err != nil {
			return err
		}
		maps.Copy(ids.entries, found)
		profiles = profiles[:0:0]
		for key := range found {
			profiles = append(profiles, profileAt(readHolder(ids.get(key)).Into))
		}
	}
	return nil
}

// complete lets all ids of the loser lead to the winner, also those that another call is about to tie to the loser, and
// brings what the vault has of it to the winner.
func (l *linker) complete(ctx context.Context, p *prepared, loser string, winner place) error {
	for range attempts {
		found, err := l.identities.Fresh(ctx, []string{ownerKey(loser)})
		if err != nil {
			return err
		}
		known := readHolder(string(found[ownerKey(loser)].Value)).Keys
		if found, err = l.identities.Fresh(ctx, unique(slices.Concat(known, p.names.keys()))); err != nil {
			return err
		}
		var writes []write
		for _, key := range slices.Sorted(maps.Keys(found)) {
			e := found[key]
			if at := profileAt(string(e.Value)); at == loser || at == "" && slices.Contains(known, key) {
				writes = append(writes, write{Key: key, Value: []byte(winner), Revision: e.Revision})
			}
		}
		if len(writes) == 0 {
			break
		}
		if _, _, err = l.identities.Put(ctx, writes); err != nil { // what conflicts is looked at again
			return err
		}
	}
	return l.vault.Move(ctx, loser, profileAt(winner))
}

// sendJoins sends what the log has to learn of the links of a call that does not become an event.
func (s *Stage) sendJoins(out *output, owner *session, p *prepared) error {
	if len(p.joins) == 0 {
		return nil
	}
	if p.bare == nil {
		p.bare = &event.Event{
			ID: "joins-" + s.ordinalOf(p.ordinal), Type: event.Identify, Profile: p.winner,
			Occurred: p.call.Accepted, Accepted: p.call.Accepted, Historical: p.call.Historical, Joins: p.joins,
		}
	}
	return s.record(out, owner, p, p.bare)
}

// apart are the profiles that the call must not be tied to: it was refused.
func (p *prepared) apart() map[string]bool {
	var refused map[string]bool
	for _, j := range p.joins {
		if j.Refused == "" {
			continue
		}
		if refused == nil {
			refused = map[string]bool{}
		}
		refused[j.Loser] = true
	}
	return refused
}

// ordinalOf names a call of RAW in records of the identities.
func (s *Stage) ordinalOf(ordinal uint64) string {
	return s.stream + "/" + strconv.FormatUint(ordinal, 10)
}
