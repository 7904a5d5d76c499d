package main

import (
	"encoding/json"
	"time"

	"attune/pipeline/event"
	"attune/pipeline/profile"
	"attune/pipeline/vault"
)

// profileView is a profile as the HTTP API and `attune profile --json` show it. Money is in main currency units.
type profileView struct {
	ID        string        `json:"id"`
	Partition int           `json:"partition"`
	Position  uint64        `json:"position"` // of the last record of the log that changed it
	Behind    bool          `json:"behind,omitempty"`
	AsOf      event.Instant `json:"as_of"` // the customer's clock
	FirstSeen event.Instant `json:"first_seen"`
	LastSeen  event.Instant `json:"last_seen"`

	Lifecycle string        `json:"lifecycle"`
	Tier      string        `json:"tier,omitempty"`
	Until     event.Instant `json:"standing_until,omitzero"` // when lifecycle or tier changes next by itself
	Orders    ordersView    `json:"orders"`
	CLV       json.Number   `json:"clv"`
	Sure      float64       `json:"clv_confidence"`
	Alive     float64       `json:"alive"`
	ScoredAt  event.Instant `json:"scored_at,omitzero"`
	// Propensities are by name, as of PropensityAt.
	Propensities map[string]propensityView `json:"propensities"`
	PropensityAt event.Instant             `json:"propensities_at,omitzero"`

	Style      *styleView                    `json:"style_group,omitempty"`
	Affinities map[string]map[string]float64 `json:"affinities"`
	SendHour   *hourView                     `json:"send_hour,omitempty"`
	Viewed     []viewedView                  `json:"viewed"`
	Cart       []cartView                    `json:"cart"`

	Events   map[string]activityView `json:"events"`
	Traits   map[string]event.Object `json:"traits"`
	Consents map[string]consentView  `json:"consents"`
	Segments []segmentView           `json:"segments"`
	Waits    []waitView              `json:"waits"`
	// Merged are the ids that this customer had too.
	Merged []mergedView `json:"merged"`

	Personal map[string]json.RawMessage `json:"personal,omitempty"`
}

type ordersView struct {
	Count       uint64         `json:"count"`
	Refunds     uint64         `json:"refunds"`
	Revenue     json.Number    `json:"revenue"`
	Refunded    json.Number    `json:"refunded"`
	Net         json.Number    `json:"net"`
	First       event.Instant  `json:"first,omitzero"`
	Last        event.Instant  `json:"last,omitzero"`
	RecencyDays *int64         `json:"recency_days,omitempty"`
	Currencies  []currencyView `json:"currencies"`
}

type currencyView struct {
	Currency string      `json:"currency"`
	Orders   uint64      `json:"orders"`
	Refunds  uint64      `json:"refunds"`
	Revenue  json.Number `json:"revenue"`
	Refunded json.Number `json:"refunded"`
}

type propensityView struct {
	Value      float64 `json:"value"`
	Confidence float64 `json:"confidence"`
}

type styleView struct {
	Category   string        `json:"category"`
	Confidence float64       `json:"confidence"`
	Until      event.Instant `json:"until,omitzero"` // when the confidence falls next
}

type hourView struct {
	UTC   int     `json:"utc"`
	Local *int    `json:"local,omitempty"`
	Zone  string  `json:"zone,omitempty"`
	Share float64 `json:"share"`
}

type viewedView struct {
	ProductID string        `json:"product_id"`
	At        event.Instant `json:"at"`
}

type cartView struct {
	ProductID string        `json:"product_id"`
	Quantity  int64         `json:"quantity"`
	Price     json.Number   `json:"price"`
	Since     event.Instant `json:"since"`
}

type activityView struct {
	Count uint64        `json:"count"`
	Sum   json.Number   `json:"sum"`
	First event.Instant `json:"first,omitzero"`
	Last  event.Instant `json:"last,omitzero"`
}

type consentView struct {
	Granted bool          `json:"granted"`
	At      event.Instant `json:"at"`
}

type segmentView struct {
	ID    string        `json:"id"`
	Since event.Instant `json:"since"`
	Until event.Instant `json:"until,omitzero"`
}

type mergedView struct {
	ID string        `json:"id"`
	At event.Instant `json:"at"`
}

type waitView struct {
	Campaign string        `json:"campaign"`
	Key      string        `json:"key,omitempty"`
	Due      event.Instant `json:"due"`
}

// view shows a profile as of an instant, which is not before the profile's own clock: what changes by itself is that of
// then, where the profile tells it without a rule.
func view(f *found, now event.Instant) profileView {
	p := f.Profile
	now = max(now, p.Now)
	v := profileView{
		ID: p.ID, Partition: f.Partition, Position: p.Applied, Behind: f.Behind, AsOf: p.Now, FirstSeen: p.First, LastSeen: p.Last,
		Lifecycle: p.Standing.Lifecycle.String(), Tier: p.Standing.Tier, Until: p.Standing.Until,
		Orders: viewOrders(p, now), CLV: number(p.Scores.CLV), Sure: p.Scores.Confidence, Alive: p.Scores.Alive, ScoredAt: p.Scores.Scored,
		Affinities: map[string]map[string]float64{}, Viewed: []viewedView{}, Cart: []cartView{},
		Propensities: map[string]propensityView{}, PropensityAt: p.Propensities.At,
		Events: map[string]activityView{}, Traits: map[string]event.Object{}, Consents: map[string]consentView{},
		Segments: []segmentView{}, Waits: []waitView{}, Merged: []mergedView{}, SendHour: viewHour(p, now),
	}
	if name := p.StyleGroup(); name != "" {
		confidence, until := p.StyleConfidence(now)
		v.Style = &styleView{name, confidence, until}
	}
	for _, d := range profile.Dimensions() {
		shares := map[string]float64{}
		for _, w := range p.Leanings[d].Weights {
			shares[w.Name] = p.Affinity(d, w.Name)
		}
		v.Affinities[d.String()] = shares
	}
	for _, seen := range p.Viewed {
		v.Viewed = append(v.Viewed, viewedView{seen.Product, seen.At})
	}
	for _, line := range p.CartLines() {
		v.Cart = append(v.Cart, cartView{line.Product, line.Quantity, number(line.Price), line.Since})
	}
	for _, a := range p.Activities {
		v.Events[a.Name] = activityView{a.Count, number(a.Sum), a.First, a.Last}
	}
	for name, t := range p.Traits {
		v.Traits[name] = t.Value
	}
	for channel, c := range p.Consents {
		v.Consents[channel] = consentView(c)
	}
	for _, s := range p.Propensities.Scores {
		v.Propensities[s.Name] = propensityView{s.Value, s.Confidence}
	}
	for _, id := range p.Memberships() {
		v.Segments = append(v.Segments, segmentView{id, p.Segments[id].Since, p.Segments[id].Until})
	}
	for _, w := range p.Waits {
		v.Waits = append(v.Waits, waitView{w.Campaign, w.Key, w.Due})
	}
	for _, m := range p.Merged {
		v.Merged = append(v.Merged, mergedView(m))
	}
	return v
}

func viewOrders(p *profile.Profile, now event.Instant) ordersView {
	o := &p.Orders
	v := ordersView{
		Count: o.Count, Refunds: o.Refunds, Revenue: number(o.Revenue), Refunded: number(o.Refunded), Net: number(p.Monetary()),
		First: o.First, Last: o.Last, Currencies: []currencyView{},
	}
	if days, _, ok := p.Recency(now); ok {
		v.RecencyDays = &days
	}
	for _, c := range o.Currencies {
		v.Currencies = append(v.Currencies, currencyView{c.Code, c.Orders, c.Refunds, number(c.Revenue), number(c.Refunded)})
	}
	return v
}

// viewHour is the best hour for a mail, in the customer's zone where that is known and this machine knows it.
func viewHour(p *profile.Profile, now event.Instant) *hourView {
	hour, share, ok := p.SendHour(0)
	if !ok {
		return nil
	}
	v := &hourView{UTC: hour, Share: share}
	if p.Zone.Name == "" {
		return v
	}
	if zone, err := time.LoadLocation(p.Zone.Name); err == nil {
		_, ahead := now.Time().In(zone).Zone()
		local, _, _ := p.SendHour(time.Duration(ahead) * time.Second)
		v.Local, v.Zone = &local, p.Zone.Name
	}
	return v
}

func number(m event.Money) json.Number { return json.Number(m.String()) }

// fields are the vault's values by name.
func fields(e vault.Entry) map[string]json.RawMessage {
	values := make(map[string]json.RawMessage, len(e.Fields))
	for name, f := range e.Fields {
		values[name] = f.Value
	}
	return values
}
