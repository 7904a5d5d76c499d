package rule

import (
	"sync"
	"time"

	"attune/pipeline/event"
	"attune/pipeline/profile"
)

// zoneTrait is the trait that names a customer's time zone, such as Europe/London.
const zoneTrait = "timezone"

// maxZones bounds how many names are remembered: there are about 600 zones, and customers may say anything.
const maxZones = 2000

// zones finds time zones by name. It is safe for concurrent use. The zones' own rules are those of the time zone
// database that the machine or the program brings: workers and replays need the same.
type zones struct {
	mu     sync.RWMutex
	byName map[string]*time.Location
}

func newZones() *zones { return &zones{byName: map[string]*time.Location{}} }

// of is the customer's zone, as an event's context or a trait last named it; UTC where neither does.
func (z *zones) of(p *profile.Profile) *time.Location {
	if p.Zone.Name != "" {
		return z.named([]byte(p.Zone.Name))
	}
	name, ok := textOf(event.ValueOf(p.Traits[zoneTrait].Value))
	if !ok || len(name) == 0 {
		return time.UTC
	}
	return z.named(name)
}

func (z *zones) named(name []byte) *time.Location {
	z.mu.RLock()
	zone := z.byName[string(name)]
	z.mu.RUnlock()
	if zone != nil {
		return zone
	}
	return z.load(string(name))
}

// ahead is how far the customer's zone is ahead of UTC at an instant, and until when; zero: for ever.
func (z *zones) ahead(p *profile.Profile, at event.Instant) (time.Duration, event.Instant) {
	t := at.Time().In(z.of(p))
	_, offset := t.Zone()
	var until event.Instant
	if _, end := t.ZoneBounds(); !end.IsZero() {
		until = event.At(end)
	}
	return time.Duration(offset) * time.Second, until
}

func (z *zones) load(name string) *time.Location {
	zone, err := time.LoadLocation(name)
	if err != nil || name == "Local" || name == "localtime" { // the machine's
		zone = time.UTC
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	if len(z.byName) < maxZones {
		z.byName[name] = zone
	}
	return zone
}

// startOfDay is the first instant of a date in a zone, also where midnight is skipped or comes twice. A date that
// the zone skips begins where the next one does.
func startOfDay(year int, month time.Month, day int, zone *time.Location) event.Instant {
	t := time.Date(year, month, day, 0, 0, 0, 0, zone)
	if zone == time.UTC {
		return event.At(t)
	}
	wall := time.Date(year, month, day, 0, 0, 0, 0, time.UTC).Unix() // the date's midnight as a number that grows with dates
	local := func(t time.Time) int64 {
		_, offset := t.Zone()
		return t.Unix() + int64(offset)
	}
	begin, end := t.ZoneBounds()
	if local(t) < wall { // midnight is skipped, and t is before the jump
		if !end.IsZero() {
			return event.At(end)
		}
		return event.At(t)
	}
	if begin.IsZero() {
		return event.At(t)
	}
	if local(t) > wall && local(begin) >= wall { // skipped, and t is after the jump
		return event.At(begin)
	}
	// Midnight may come twice: then before the last change of the clock it was there once already.
	before := begin.Add(-time.Millisecond)
	_, offset := before.Zone()
	if first := time.Unix(wall-int64(offset), 0); first.Before(begin) {
		return event.At(first)
	}
	return event.At(t)
}
