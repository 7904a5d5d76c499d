package enrich

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"attune/pipeline/event"
	"attune/pipeline/profile"
	"attune/stages/enrich/propensity"
)

// Examples gathers what propensities are learned from: it keeps a profile of each customer as Stage.Apply does, and notes
// its features at moments at which it might have been scored, together with what came after. It is not safe for
// concurrent use.
//
// The moments of a customer are each of their events, and 1, 2, 4, 8, … days of silence after it, up to a year. Of a
// moment is learned only when its whole horizon is known. A customer's clock is `occurred`, since what was imported was
// accepted all at once.
type Examples struct {
	stage *Stage
	of    []Propensity
	from  event.Instant
	end   event.Instant
	most  uint64

	profile *profile.Profile // nil: none yet
	waiting []*propensity.Maturing
	matured [][]propensity.Matured
	recent  [][]Moment
	bound   uint64 // of the hashes of customers in recent
	sketch  sketch
	row     propensity.Row
}

// Moment is a customer at an instant, by all features.
type Moment struct {
	Customer string
	At       event.Instant
	Row      propensity.Row
}

const (
	// recently is how long before the end a customer's latest event is at most, to be recent.
	recently = 28 * tick
	// mostRecent bounds the moments of all propensities together; each takes some 1.5 kB.
	mostRecent = 20_000
)

// longestSilence is up to when after an event there are moments.
const longestSilence = 365 * tick

// NewExamples gathers examples of several propensities from what is known up to end. share is that of the moments that
// are kept, above 0 and at most 1: which ones is a matter of a hash.
func NewExamples(of []Propensity, end event.Instant, share float64) (*Examples, error) {
	if !(share > 0 && share <= 1) {
		return nil, fmt.Errorf("examples: share %v: want more than 0 and at most 1", share)
	}
	cfg := DefaultConfig()
	cfg.Propensities = of
	stage, err := New(cfg, DefaultModels(), Asked{})
	if err != nil {
		return nil, err
	}
	return &Examples{
		stage: stage, of: of, end: end, most: uint64(share * (1 << 53)), matured: make([][]propensity.Matured, len(of)),
		recent: make([][]Moment, len(of)), bound: math.MaxUint64, row: make(propensity.Row, 0, features),
	}, nil
}

// From leaves out the moments before one: nothing is learned from them. It is to be called before anything is taken.
func (x *Examples) From(at event.Instant) { x.from = at }

// Take takes the next event: those of a customer follow one another, in the order in which they occurred. What occurred
// after the end is left out, as the ends of deliveries are.
func (x *Examples) Take(e *event.Event) {
	if e.Type == event.Delivery || e.Occurred > x.end {
		return
	}
	if x.profile == nil || x.profile.ID != e.Profile {
		x.leave()
		x.profile = profile.New(e.Profile)
		x.waiting = x.waiting[:0]
		for _, p := range x.of {
			x.waiting = append(x.waiting, propensity.NewMaturing(p.Within.Milliseconds()))
		}
	}
	x.observe(e.Occurred)
	for i, p := range x.of {
		if p.Event == e.CountName() {
			x.keep(i, x.waiting[i].Happened(e.Profile, e.Occurred))
		}
	}
	x.stage.take(x.profile, e)
	x.profile.Now = max(x.profile.Now, e.Occurred)
}

// Matured are all examples of the i-th propensity, oldest first. Nothing can be taken afterwards.
func (x *Examples) Matured(i int) []propensity.Matured {
	x.leave()
	x.profile = nil
	propensity.Sort(x.matured[i])
	return x.matured[i]
}

// Recent are the customers who did something within the 28 days before the end, each at their latest event, as they are
// scored for the i-th propensity; of many customers a part, chosen by a hash. Nothing can be taken afterwards.
func (x *Examples) Recent(i int) []Moment {
	x.leave()
	x.profile = nil
	return x.recent[i]
}

// leave ends a customer's history.
func (x *Examples) leave() {
	if x.profile == nil {
		return
	}
	x.observe(x.end + 1)
	for i := range x.of {
		x.keep(i, x.waiting[i].Until(x.end))
	}
	x.remember()
}

// remember keeps the customer as one of those who did something of late. Where they become too many, those with the
// smaller half of the hashes stay.
func (x *Examples) remember() {
	p := x.profile
	if p.Now.Add(recently) <= x.end || mix(p.ID, 0) > x.bound {
		return
	}
	x.sketch.draw(p, p.Now)
	all := 0
	for i, of := range x.of {
		x.sketch.aim(p, of.Event)
		x.recent[i] = append(x.recent[i], Moment{p.ID, p.Now, slices.Clone(x.sketch.values[:])})
		all += len(x.recent[i])
	}
	if all > mostRecent {
		x.bound /= 2
		for i := range x.recent {
			x.recent[i] = slices.DeleteFunc(x.recent[i], func(m Moment) bool { return mix(m.Customer, 0) > x.bound })
		}
	}
}

// observe notes the moments from the latest event until before the next one.
func (x *Examples) observe(next event.Instant) {
	at := x.profile.Now
	if at == 0 {
		return
	}
	for silence := time.Duration(0); silence <= longestSilence; silence = max(tick, 2*silence) {
		if at.Add(silence) >= next {
			return
		}
		x.moment(at.Add(silence))
	}
}

func (x *Examples) moment(now event.Instant) {
	if now < x.from || x.most < 1<<53 && mix(x.profile.ID, now)>>11 >= x.most {
		return
	}
	x.sketch.draw(x.profile, now)
	for i, p := range x.of {
		if now.Add(p.Within) > x.end {
			continue
		}
		x.sketch.aim(x.profile, p.Event)
		x.row = append(x.row[:0], x.sketch.values[:]...)
		x.waiting[i].Observe(x.profile.ID, now, x.row)
	}
}

func (x *Examples) keep(i int, matured []propensity.Matured) {
	x.matured[i] = append(x.matured[i], matured...)
}

// mix is a hash of a customer and a moment: FNV-1a and the end of splitmix64.
func mix(id string, at event.Instant) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(id) {
		h = (h ^ uint64(id[i])) * 1099511628211
	}
	h += uint64(at) * 0x9e3779b97f4a7c15
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	return h ^ h>>31
}

// PropensityCard tells what a model was made from and how good it is.
type PropensityCard struct {
	Propensity
	// The window: the first and the last moment that was learned from, and the first that Calibrated was judged by.
	First        event.Instant `json:"first"`
	HoldoutSince event.Instant `json:"holdout_since"`
	Last         event.Instant `json:"last"`
	Examples     int           `json:"examples"`
	Positives    int           `json:"positives"`
	// Holdout judges the model that has seen nothing of the hold-out, by the last quarter of the moments.
	Holdout propensity.Judgement `json:"holdout"`
	// Constant judges the share of positives before the hold-out, said of everybody.
	Constant propensity.Judgement `json:"constant"`
}

// Worse tells whether a judgement is worse than another of the same hold-out: by the log loss.
func (c *PropensityCard) Worse(than propensity.Judgement) bool {
	return c.Holdout.LogLoss > than.LogLoss
}

// TrainedPropensity is a model that was trained on all examples, and what it is worth.
type TrainedPropensity struct {
	Model PropensityModel
	// Calibrated was trained without the hold-out: Model was judged by it, and later ones are compared with it.
	Calibrated PropensityModel
	Card       PropensityCard
}

// errShort is returned for a history from which nothing can be held out.
var errShort = errors.New("too little is known yet: the time that is covered must be several times the horizon, and some must have done it and some not")

// TrainPropensity learns from examples, the oldest first. What is held out is the last quarter of the moments; those
// before it whose horizon reaches into it are left out when the hold-out is foretold.
func TrainPropensity(of Propensity, matured []propensity.Matured) (t TrainedPropensity, err error) {
	fail := func(err error) (TrainedPropensity, error) {
		return TrainedPropensity{}, fmt.Errorf("propensity %s (%s): %w", of.Name, of, err)
	}
	if len(matured) == 0 {
		return fail(errShort)
	}
	c := PropensityCard{
		Propensity: of, First: matured[0].At, Last: matured[len(matured)-1].At, HoldoutSince: matured[len(matured)*3/4].At, Examples: len(matured),
	}
	var all, before []propensity.Example
	rate := 0.0
	for _, m := range matured {
		all = append(all, m.Example)
		if m.Label {
			c.Positives++
		}
		if m.At.Add(of.Within) <= c.HoldoutSince {
			before = append(before, m.Example)
			if m.Label {
				rate++
			}
		}
	}
	rate /= max(float64(len(before)), 1)
	if held := c.Judge(nil, matured); held.Positives == 0 || held.Positives == held.Rows || rate == 0 || rate == 1 {
		return fail(errShort)
	}
	t.Model.Propensity, t.Calibrated.Propensity = of, of
	if t.Calibrated.Model, err = propensity.Train(Features(), before); err != nil {
		return fail(err)
	}
	if t.Model.Model, err = propensity.Train(Features(), all); err != nil {
		return fail(err)
	}
	c.Holdout = c.Judge(t.Calibrated.Model.Score, matured)
	c.Constant = c.Judge(func(propensity.Row) propensity.Score { return propensity.Score{Probability: rate} }, matured)
	t.Card = c
	return t, nil
}

// Judge judges any scores on the card's hold-out, of the same examples; nil counts only.
func (c *PropensityCard) Judge(score func(propensity.Row) propensity.Score, matured []propensity.Matured) propensity.Judgement {
	from, _ := slices.BinarySearchFunc(matured, c.HoldoutSince, func(m propensity.Matured, at event.Instant) int { return int(m.At - at) })
	var scores []float64
	var labels []bool
	for _, m := range matured[from:] {
		p := 0.0
		if score != nil {
			p = score(m.Row).Probability
		}
		scores, labels = append(scores, p), append(labels, m.Label)
	}
	return propensity.Judge(scores, labels)
}

// Score scores a row of all features.
func (m *PropensityModel) Score(row propensity.Row) propensity.Score {
	columns, _ := m.columns() // Validate has told
	own := make(propensity.Row, 0, len(columns))
	for _, f := range columns {
		own = append(own, row[f])
	}
	return m.Model.Score(own)
}
