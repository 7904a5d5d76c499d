package scenario

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"attune/config"
	"attune/pipeline"
	"attune/pipeline/event"
	"attune/pipeline/profile"
	"attune/stages/deliver/template"
	"attune/stages/normalize"
)

// firstVersion is that of the definitions with which every scenario begins.
const firstVersion = 1

// maxWakes bounds the wake-ups of one scenario.
const maxWakes = 1_000_000

// Start is the instant at which every scenario starts.
func Start() time.Time { return time.Date(2026, time.January, 5, 9, 0, 0, 0, time.UTC) } // a Monday

// world is the production pipeline in memory: what normalizes calls, customers, a log position, a clock.
type world struct {
	ws     *config.Workspace
	chain  *pipeline.Chain
	record event.ControlRecord // that brought it into force
	// workspaces are those that were in force, by the hash by which a mail knows the one that it was decided by.
	workspaces map[string]*config.Workspace
	calls      *normalize.Offline
	start      event.Instant
	now        event.Instant
	position   uint64
	customers  []*customer // in the order of their first call
	profiles   map[string]*customer
	users      map[string]*customer // by user id, as last called
	visitors   map[string]*customer // by anonymous id
	alarms     alarms
	wakes      int

	deliveries []happened[pipeline.Delivery]
	decisions  []happened[pipeline.Decision]
}

type customer struct {
	name    string // the user id, else the anonymous id
	order   int    // among the customers
	profile *profile.Profile
	wake    event.Instant // the armed wake-up; zero: none
	history []happening
}

// happening is a record of the log.
type happening struct {
	position uint64
	event    event.Event
}

type happened[T any] struct {
	who  *customer
	what T
}

func newWorld(ws *config.Workspace, chain *pipeline.Chain, in config.Installation) *world {
	start := event.At(Start())
	return &world{
		ws: ws, chain: chain, record: event.ControlRecord{Version: chain.Version}, workspaces: map[string]*config.Workspace{chain.Definitions: ws}, calls: normalize.NewOffline(in.Normalize), start: start, now: start,
		profiles: map[string]*customer{}, users: map[string]*customer{}, visitors: map[string]*customer{},
	}
}

// advance runs every wake-up that is due up to an instant, each at its own, in the order of time.
func (w *world) advance(to event.Instant) error {
	for next := w.alarms.next(to); next != nil; next = w.alarms.next(to) {
		if w.wakes++; w.wakes > maxWakes {
			return fmt.Errorf("the scenario needs more than %d wake-ups", maxWakes)
		}
		due := next.wake
		next.wake = 0
		if err := w.apply(next, &event.Event{Type: event.Wake, Profile: next.profile.ID, Occurred: due, Accepted: due}); err != nil {
			return err
		}
	}
	w.now = to
	return nil
}

// call is one call at an instant, in Segment's shape: it is normalized as any other.
func (w *world) call(kind event.Type, who Who, fields map[string]any) error {
	fields["type"], fields["messageId"] = kind, "call-"+strconv.FormatUint(w.position+1, 10)
	if who.User != "" {
		fields["userId"] = who.User
	}
	if who.Anonymous != "" {
		fields["anonymousId"] = who.Anonymous
	}
	if who.Occurred != nil {
		fields["timestamp"] = w.start.Add(*who.Occurred)
	}
	if len(who.Consent) > 0 || len(who.Context) > 0 {
		context := maps.Clone(who.Context)
		if context == nil {
			context = map[string]any{}
		}
		if len(who.Consent) > 0 {
			context["consent"] = map[string]any{"categoryPreferences": who.Consent}
		}
		fields["context"] = context
	}
	payload, err := json.Marshal(fields)
	if err != nil {
		return fmt.Errorf("the call is no JSON: %w", err)
	}
	e, err := w.calls.Call(payload, w.now, who.Historical)
	if err != nil {
		return fmt.Errorf("the call can't be used: %w", err)
	}
	c := w.customer(e.Profile)
	c.name = cmp.Or(who.User, c.name, who.Anonymous)
	if who.User != "" {
		w.users[who.User] = c
	}
	if who.Anonymous != "" {
		w.visitors[who.Anonymous] = c
	}
	c.history = append(c.history, happening{w.position + 1, *e})
	return w.apply(c, e)
}

func (w *world) customer(profileID string) *customer {
	c := w.profiles[profileID]
	if c == nil {
		c = &customer{order: len(w.customers), profile: profile.New(profileID)}
		w.customers, w.profiles[profileID] = append(w.customers, c), c
	}
	return c
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
		w.alarms.set(c)
	}
	for _, d := range result.Deliveries {
		w.deliveries = append(w.deliveries, happened[pipeline.Delivery]{c, d})
	}
	for _, d := range result.Facts.Decisions {
		w.decisions = append(w.decisions, happened[pipeline.Decision]{c, d})
	}
	for i := range result.Leaving { // at once: a scenario has no way between two logs
		sent := &result.Leaving[i]
		to := w.customer(sent.Profile)
		if sent.Type == event.Transfer {
			w.become(c, to)
		}
		if err := w.apply(to, sent); err != nil {
			return err
		}
	}
	return nil
}

// become lets all that one customer is known by, and what they did, be another one's.
func (w *world) become(loser, winner *customer) {
	for _, ids := range []map[string]*customer{w.users, w.visitors} {
		for id, c := range ids {
			if c == loser {
				ids[id] = winner
			}
		}
	}
	winner.name = cmp.Or(winner.name, loser.name)
	winner.history, loser.history = append(winner.history, loser.history...), nil
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

// known is the customer whom a user's or a visitor's id names; nil: nobody.
func (w *world) known(id string) *customer {
	if c := w.users[id]; c != nil {
		return c
	}
	return w.visitors[id]
}

// name is the name of the customer whom an id names; the id itself where it names nobody.
func (w *world) name(id string) string {
	if c := w.known(id); c != nil {
		return c.name
	}
	return id
}

// named are the names of the customers whom ids name, sorted.
func (w *world) named(ids []string) []string {
	names := make([]string, len(ids))
	for i, id := range ids {
		names[i] = w.name(id)
	}
	slices.Sort(names)
	return slices.Compact(names)
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
	for field, f := range w.calls.Personal(h.who.profile.ID).Fields {
		var v any
		if err := json.Unmarshal(f.Value, &v); err != nil {
			return mail{}, err
		}
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
	texts := w.workspaces[h.what.Definitions].Templates[h.what.Template]
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
