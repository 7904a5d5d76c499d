package enrich

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"attune/pipeline"
	"attune/pipeline/event"
	"attune/pipeline/profile"
	"attune/stages/enrich/propensity"
)

// Propensity is something that customers may do, and within which time: what is foretold of them once a model for it
// is trained.
type Propensity struct {
	// Name is what rules and analysts call it: lower-case letters, digits, - and _, at most 63.
	Name string `yaml:"name" json:"name"`
	// Event is what they may do: a track event's name, such as Order Completed, or page:NAME or screen:NAME.
	Event string `yaml:"event" json:"event"`
	// Within is the horizon, 1h to 365d: the event counts if it occurs so soon. A moment is learned from when its horizon
	// is over.
	Within time.Duration `yaml:"within" json:"within"`
}

// Bounds of what is foretold.
const (
	MaxPropensities = 20
	leastWithin     = time.Hour
	mostWithin      = 365 * 24 * time.Hour
)

func validatePropensities(all []Propensity) error {
	var errs []error
	if len(all) > MaxPropensities {
		errs = append(errs, fmt.Errorf("propensities: has %d lines, at most %d are allowed", len(all), MaxPropensities))
	}
	for i, p := range all {
		field := fmt.Sprintf("propensities[%d]", i)
		if !isName(p.Name) {
			errs = append(errs, fmt.Errorf("%s.name: %q: want lower-case letters, digits, - and _, at most 63, such as purchase", field, p.Name))
		}
		if slices.ContainsFunc(all[:i], func(before Propensity) bool { return before.Name == p.Name }) {
			errs = append(errs, fmt.Errorf("%s.name: %q stands there twice; give one of them another name", field, p.Name))
		}
		if p.Event == "" || len(p.Event) > maxNameSize {
			errs = append(errs, fmt.Errorf("%s.event: %q: want the name of an event, such as Order Completed", field, p.Event))
		}
		if p.Within < leastWithin || p.Within > mostWithin {
			errs = append(errs, fmt.Errorf("%s.within: %s: want 1h to 365d, such as 30d", field, span(p.Within)))
		}
	}
	return errors.Join(errs...)
}

// String is such as "Order Completed within 30d".
func (p Propensity) String() string { return p.Event + " within " + span(p.Within) }

// span writes whole days as days.
func span(d time.Duration) string {
	if d > 0 && d%tick == 0 {
		return fmt.Sprintf("%dd", d/tick)
	}
	return d.String()
}

func isName(name string) bool {
	return name != "" && len(name) <= 63 && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-_") == ""
}

// PropensityModel is a model and what it foretells.
type PropensityModel struct {
	Propensity
	Model *propensity.Model `json:"model"`
}

// Validate reports what a model can't be scored by.
func (m *PropensityModel) Validate() error {
	if err := validatePropensities([]Propensity{m.Propensity}); err != nil {
		return err
	}
	if m.Model == nil {
		return fmt.Errorf("propensity %s: has no model", m.Name)
	}
	if err := m.Model.Validate(); err != nil {
		return fmt.Errorf("propensity %s: %w", m.Name, err)
	}
	_, err := m.columns()
	return err
}

// columns are the features that the model's columns ask for.
func (m *PropensityModel) columns() ([]feature, error) {
	if len(m.Model.Columns) > int(features) {
		return nil, fmt.Errorf("propensity %s: the model has %d columns: want at most %d", m.Name, len(m.Model.Columns), features)
	}
	columns := make([]feature, len(m.Model.Columns))
	for i := range columns {
		name := m.Model.Columns[i].Name
		at := slices.Index(Features(), name)
		if at < 0 {
			return nil, fmt.Errorf("propensity %s: the model has the column %q, which this program doesn't know: a newer one trained it", m.Name, name)
		}
		columns[i] = feature(at)
	}
	return columns, nil
}

// foretold is one propensity of the workspace whose model is in force.
type foretold struct {
	PropensityModel
	features []feature // by the model's columns
}

// foretell finds the models of what the workspace names, by name.
func (st *Stage) foretell(wanted []Propensity, models []PropensityModel) error {
	for i := range models {
		m := &models[i]
		if !slices.Contains(wanted, m.Propensity) {
			continue
		}
		columns, err := m.columns()
		if err != nil {
			return fmt.Errorf("enrich: %w", err)
		}
		st.foretold = append(st.foretold, foretold{*m, columns})
	}
	slices.SortFunc(st.foretold, func(a, b foretold) int { return strings.Compare(a.Name, b.Name) })
	return nil
}

// beginTicks has propensities scored in the first step by other definitions: if none of the rules before asked for any, the
// customer's are as old as the latest event, and nothing would make them due.
func (st *Stage) beginTicks(s *pipeline.Step) {
	of := &s.Profile.Propensities
	if st.ticks && of.At != 0 && of.Next == 0 && s.Before.Profile.Definitions != s.Version {
		of.Next = s.Now
	}
}

// scorePropensities foretells as of now.
func (st *Stage) scorePropensities(p *profile.Profile, now event.Instant) {
	if len(st.foretold) == 0 {
		p.Propensities = profile.Propensities{}
		return
	}
	scored := profile.Propensities{Scores: make([]profile.Propensity, 0, len(st.foretold)), At: now}
	var s sketch
	var row [features]propensity.Value
	s.draw(p, now)
	for i := range st.foretold {
		f := &st.foretold[i]
		s.aim(p, f.Event)
		score := f.Model.Score(s.row(row[:0], f.features))
		scored.Scores = append(scored.Scores, profile.Propensity{
			Name: f.Name, Value: math.Round(score.Probability*1e4) / 1e4, Confidence: math.Round(score.Confidence*1e4) / 1e4,
		})
		if st.ticks {
			scored.Next = sooner(scored.Next, s.changes(f.Model, f.features))
		}
	}
	p.Propensities = scored
}
