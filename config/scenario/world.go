package scenario

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"attune/config"
	"attune/pipeline"
	"attune/pipeline/event"
	"attune/pipeline/profile"
	"attune/pipeline/vault"
	"attune/stages/deliver/template"
)

// version is that of the definitions in every scenario.
const version = 1

// maxWakes bounds the wake-ups of one scenario.
const maxWakes = 1_000_000

// Start is the instant at which every scenario starts.
func Start() time.Time { return time.Date(2026, time.January, 5, 9, 0, 0, 0, time.UTC) } // a Monday

// world is the production pipeline in memory: customers, a log position, a clock.
type world struct {
	ws        *config.Workspace
	chain     *pipeline.Chain
	names     *vault.Names
	start     event.Instant
	now       event.Instant
	position  uint64
	customers []*customer          // in the order of their first call
	users     map[string]*customer // by user id
	visitors  map[string]*customer // by anonymous id
	wakes     int

	deliveries []happened[pipeline.Delivery]
	decisions  []happened[pipeline.Decision]
}

type customer struct {
	name     string // the user id, else the anonymous id
	profile  *profile.Profile
	personal map[string]any // the vault
	wake     event.Instant  // the armed wake-up; zero: none
}

type happened[T any] struct {
	who  *customer
	what T
}

func newWorld(ws *config.Workspace, chain *pipeline.Chain) *world {
	return &world{
		ws: ws, chain: chain, names: vault.NewNames(vault.Declared{}), start: event.At(Start()),
		users: map[string]*customer{}, visitors: map[string]*customer{},
	}
}

// advance runs every wake-up that is due up to an instant, each at its own, in the order of time.
func (w *world) advance(to event.Instant) error {
	defer func() { w.now = to }()
	for {
		var next *customer
		for _, c := range w.customers {
			if c.wake != 0 && c.wake <= to && (next == nil || c.wake < next.wake) {
				next = c
			}
		}
		if next == nil {
			return nil
		}
		if w.wakes++; w.wakes > maxWakes {
			return fmt.Errorf("the scenario needs more than %d wake-ups", maxWakes)
		}
		due := next.wake
		next.wake = 0
		if err := w.apply(next, &event.Event{Type: event.Wake, Profile: next.profile.ID, Occurred: due, Accepted: due}); err != nil {
			return err
		}
	}
}

// call is one call at an instant.
func (w *world) call(kind event.Type, name string, who Who, at event.Instant, properties, traits map[string]any) error {
	c, joins := w.identify(who)
	e := &event.Event{
		ID: fmt.Sprintf("call-%d", w.position+1), Type: kind, Name: name, Profile: c.profile.ID, User: who.User,
		Occurred: at, Accepted: at, Historical: who.Historical, Consent: who.Consent, Joins: joins,
	}
	if who.Occurred != nil {
		e.Occurred = w.start.Add(*who.Occurred)
	}
	if kind == event.Track && (name == event.Subscribed || name == event.Unsubscribed) {
		channel, ok := properties["channel"].(string)
		if !ok {
			channel = "email"
		}
		e.Consent = maps.Clone(e.Consent)
		if e.Consent == nil {
			e.Consent = map[string]bool{}
		}
		e.Consent[channel] = name == event.Subscribed
	}
	var err error
	if e.Properties, err = event.ObjectOf(properties); err != nil {
		return fmt.Errorf("properties: %w", err)
	}
	if e.Traits, err = event.ObjectOf(c.keepPersonal(w.names, traits)); err != nil {
		return fmt.Errorf("traits: %w", err)
	}
	return w.apply(c, e)
}

// identify finds the customer by the rules of production: a user id belongs to one for good, an anonymous id to
// whom it was seen with last, a new user takes over the visitor it came with, and a known user and a visitor become one,
// in the older profile.
func (w *world) identify(who Who) (c *customer, joins []event.Join) {
	c = w.find(who)
	if visitor := w.visitors[who.Anonymous]; who.User != "" && visitor != nil && visitor != c && w.users[visitor.name] != visitor {
		if slices.Index(w.customers, visitor) < slices.Index(w.customers, c) {
			c, visitor = visitor, c
		}
		joins = append(joins, event.Join{Loser: visitor.profile.ID})
		w.become(visitor, c)
	}
	if who.User != "" {
		c.name = who.User
		w.users[who.User] = c
	}
	if who.Anonymous != "" {
		w.visitors[who.Anonymous] = c
	}
	return c, joins
}

// become lets all that one customer is known by lead to another one; what they did follows through the log.
func (w *world) become(loser, winner *customer) {
	for _, ids := range []map[string]*customer{w.users, w.visitors} {
		for id, c := range ids {
			if c == loser {
				ids[id] = winner
			}
		}
	}
	for field, v := range loser.personal {
		if _, known := winner.personal[field]; !known {
			winner.personal[field] = v
		}
	}
	for i := range w.deliveries {
		if w.deliveries[i].who == loser {
			w.deliveries[i].who = winner
		}
	}
	for i := range w.decisions {
		if w.decisions[i].who == loser {
			w.decisions[i].who = winner
		}
	}
}

// find is the customer whom the ids lead to, a new one where they lead to nobody.
func (w *world) find(who Who) *customer {
	c := w.users[who.User]
	if who.User == "" {
		c = w.visitors[who.Anonymous]
	}
	if c == nil && who.User != "" && who.Anonymous != "" {
		if v := w.visitors[who.Anonymous]; v != nil && w.users[v.name] != v {
			c = v
		}
	}
	if c == nil {
		c = &customer{personal: map[string]any{}, profile: profile.New(fmt.Sprintf("p%d", len(w.customers)+1))}
		c.name = who.Anonymous
		w.customers = append(w.customers, c)
	}
	return c
}

// keepPersonal moves personal traits aside; a hash stands in their place, as in production.
func (c *customer) keepPersonal(names *vault.Names, traits map[string]any) map[string]any {
	kept := map[string]any{}
	for name, v := range traits {
		field, personal := names.Personal(name, true)
		if !personal || v == nil {
			kept[name] = v
			continue
		}
		c.personal[field] = v
		sum := sha256.Sum256([]byte(fmt.Sprint(v)))
		kept[name] = "hash:" + hex.EncodeToString(sum[:8])
	}
	return kept
}

// apply runs one record of the log.
func (w *world) apply(c *customer, e *event.Event) error {
	w.position++
	result, err := w.chain.Apply(c.profile, e, w.position)
	if err != nil {
		return err
	}
	if result.Wake != 0 {
		c.wake = result.Wake
	}
	for _, d := range result.Deliveries {
		w.deliveries = append(w.deliveries, happened[pipeline.Delivery]{c, d})
	}
	for _, d := range result.Facts.Decisions {
		w.decisions = append(w.decisions, happened[pipeline.Decision]{c, d})
	}
	for i := range result.Leaving { // at once: a scenario has no way between two logs
		sent := &result.Leaving[i]
		for _, to := range w.customers {
			if to.profile.ID == sent.Profile {
				if err := w.apply(to, sent); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// members are the names of those in a segment, sorted.
func (w *world) members(segment string) []string {
	members := []string{}
	for _, c := range w.customers {
		if c.profile.In(segment) {
			members = append(members, c.name)
		}
	}
	slices.Sort(members)
	return members
}

// since is the time from the scenario's start.
func (w *world) since(at event.Instant) time.Duration { return at.Sub(w.start) }

// mail is a rendered delivery.
type mail struct{ subject, html string }

// render makes the mail as deliver does, with personal fields filled in.
func (w *world) render(h happened[pipeline.Delivery]) (mail, error) {
	data, err := h.what.Data.Map()
	if err != nil {
		return mail{}, err
	}
	customer, ok := data["customer"].(map[string]any)
	if !ok {
		customer = map[string]any{}
		data["customer"] = customer
	}
	for field, v := range h.who.personal {
		customer[field] = v
	}
	var m mail
	subject, err := template.Parse("subject of "+h.what.Campaign, h.what.Subject)
	if err != nil {
		return m, err
	}
	if m.subject, err = subject.RenderText(data); err != nil {
		return m, err
	}
	texts := w.ws.Templates[h.what.Template]
	for _, part := range []struct{ file, source string }{{h.what.Template + ".html", texts.HTML}, {h.what.Template + ".txt", texts.Text}} {
		parsed, err := template.Parse(part.file, part.source)
		if err != nil {
			return m, err
		}
		if !strings.HasSuffix(part.file, ".html") {
			_, err = parsed.RenderPlain(data)
		} else {
			m.html, err = parsed.Render(data)
		}
		if err != nil {
			return m, err
		}
	}
	return m, nil
}
