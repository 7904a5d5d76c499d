package trigger

import (
	"errors"
	"fmt"
	"maps"
	"net/mail"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"attune/pipeline/rule"
)

// FieldError is one mistake in a campaign, at the field where it was made.
type FieldError struct {
	Campaign string
	Field    string // path in the campaign's YAML: "on.where"
	Value    string // as written; empty when the field is missing
	Problem  string
	Hint     string // what to write instead; may be empty
	// Rule is set when the field holds a rule and tells the place in its text.
	Rule *rule.Error
}

func (e *FieldError) Error() string {
	s := fmt.Sprintf("campaign %q: %s: ", e.Campaign, e.Field)
	switch {
	case e.Rule != nil:
		return s + e.Rule.Error()
	case e.Value != "":
		s += strconv.Quote(e.Value) + ": "
	}
	s += e.Problem
	if e.Hint != "" {
		s += " (" + e.Hint + ")"
	}
	return s
}

func (e *FieldError) Unwrap() error {
	if e.Rule == nil {
		return nil
	}
	return e.Rule
}

// FieldErrors are the mistakes that an error of Validate, Check or New joins, in the order of the fields.
func FieldErrors(err error) []*FieldError {
	switch e := err.(type) { //nolint:errorlint // it walks the tree of joined errors itself
	case nil:
		return nil
	case *FieldError:
		return []*FieldError{e}
	case interface{ Unwrap() []error }:
		var all []*FieldError
		for _, one := range e.Unwrap() {
			all = append(all, FieldErrors(one)...)
		}
		return all
	}
	return FieldErrors(errors.Unwrap(err))
}

// Validate reports all that is wrong with the campaign by itself, its rules and segments unseen, as one
// *FieldError each, joined.
func (c Campaign) Validate() error {
	var errs []error
	bad := func(field, value, problem, hint string) {
		errs = append(errs, &FieldError{Campaign: c.ID, Field: field, Value: value, Problem: problem, Hint: hint})
	}
	if ok, _ := regexp.MatchString(`^[a-z0-9][a-z0-9-]{0,62}$`, c.ID); !ok {
		bad("id", c.ID, "is no id", "lower-case letters, digits and hyphens, at most 63, not beginning with a hyphen, such as cart-abandonment")
	}
	given := 0
	for _, text := range []string{c.On.Event, c.On.SegmentEntered, c.On.SegmentExited} {
		if text != "" {
			given++
		}
	}
	if given != 1 {
		bad("on", "", fmt.Sprintf("names %d triggers", given), "give one of event, segment_entered and segment_exited")
	}
	if c.On.Where != "" && c.On.Event == "" {
		bad("on.where", c.On.Where, "there is no event to look at", "where goes with on.event; ask about the customer in audience")
	}
	if c.Key != "" && c.On.Event == "" {
		bad("key", c.Key, "there is no event to take a key from", "key goes with on.event")
	}
	if wait := time.Duration(c.Wait); wait < 0 || wait > MaxWait {
		bad("wait", c.Wait.String(), "is out of range", "0 to "+Duration(MaxWait).String())
	}
	if c.Unless != nil {
		switch {
		case c.Unless.Event == "":
			bad("unless.event", "", "is missing", "name the event that cancels the wait, such as Order Completed")
		case c.Unless.Event == c.On.Event:
			bad("unless.event", c.Unless.Event, "is the trigger as well, so the campaign could never fire", "name another event")
		case c.Wait == 0:
			bad("unless", c.Unless.Event, "there is no wait to cancel", "give a wait, such as 1h")
		}
	}
	if c.Cap != nil {
		if c.Cap.Per != "day" {
			bad("cap.per", c.Cap.Per, "is no period of a cap", `write "day": any 24 hours`)
		}
		if c.Cap.Max < 1 || c.Cap.Max > MaxCap {
			bad("cap.max", strconv.Itoa(c.Cap.Max), "is out of range", fmt.Sprintf("1 to %d", MaxCap))
		}
	}
	if b := c.BelowMinSize; b != "" && b != Skip && b != Everyone {
		bad("below_min_size", b, "is not known", "skip: nobody gets the mail; everyone: as if each customer were in the segment")
	}
	if c.Send.Destination == "" {
		bad("send.destination", "", "is missing", "name one of the workspace's destinations")
	}
	if _, err := mail.ParseAddress(c.Send.From); err != nil {
		bad("send.from", c.Send.From, "is no mail address", `such as "Shop <hi@shop.example>"`)
	}
	if strings.TrimSpace(c.Send.Subject) == "" || strings.ContainsAny(c.Send.Subject, "\r\n") {
		bad("send.subject", c.Send.Subject, "is not one line of text", "a subject may hold {{ … }} of the template language")
	}
	if c.Send.Template == "" {
		bad("send.template", "", "is missing", "name one of the workspace's templates")
	}
	if d := time.Duration(c.Send.NotAfter); d < 0 || d > MaxNotAfter {
		bad("send.not_after", c.Send.NotAfter.String(), "is out of range", "up to "+Duration(MaxNotAfter).String())
	}
	if r := c.Send.Recommend; r != nil {
		if r.Count < 1 || r.Count > MaxRecommend {
			bad("send.recommend.count", strconv.Itoa(r.Count), "is out of range", fmt.Sprintf("1 to %d", MaxRecommend))
		}
		if r.Bought != "" && r.Bought != BoughtSkip && r.Bought != BoughtAgain {
			bad("send.recommend.bought", r.Bought, "is none of the words", "write skip or again: whether a product that was bought may be recommended")
		}
	}
	return errors.Join(errs...)
}

// Check reports all that is wrong with the campaign: what Validate does, unknown segments, and each mistake in
// its rules. Its error joins one *FieldError per mistake.
func (c Campaign) Check(compiler *rule.Compiler, segments map[string]bool) error {
	_, err := compile(c, compiler, segments)
	return err
}

// campaign is a Campaign that can run.
type campaign struct {
	Campaign
	where, audience *rule.Rule // nil: always
	chosenBy        []string   // segments that choose who gets it
}

func compile(c Campaign, compiler *rule.Compiler, segments map[string]bool) (*campaign, error) {
	errs := []error{c.Validate()}
	for _, on := range [][2]string{{"on.segment_entered", c.On.SegmentEntered}, {"on.segment_exited", c.On.SegmentExited}} {
		if id := on[1]; id != "" && !segments[id] {
			hint := "the workspace has no segments"
			if len(segments) > 0 {
				hint = "known: " + strings.Join(slices.Sorted(maps.Keys(segments)), ", ")
			}
			errs = append(errs, &FieldError{Campaign: c.ID, Field: on[0], Value: id, Problem: "is no segment", Hint: hint})
		}
	}
	compiled := &campaign{Campaign: c}
	read := func(field, text string, opts ...rule.Option) *rule.Rule {
		if text == "" {
			return nil
		}
		r, err := compiler.Compile(text, opts...)
		for _, e := range rule.Errors(err) {
			errs = append(errs, &FieldError{Campaign: c.ID, Field: field, Value: text, Problem: e.Message, Hint: e.Hint, Rule: e})
		}
		if err != nil && len(rule.Errors(err)) == 0 {
			errs = append(errs, &FieldError{Campaign: c.ID, Field: field, Value: text, Problem: err.Error()})
		}
		return r
	}
	known := rule.WithSegments(segments)
	compiled.where = read("on.where", c.On.Where, rule.WithEvent(), known)
	if compiled.where != nil {
		if !compiled.where.Reads().EventOnly() {
			errs = append(errs, &FieldError{Campaign: c.ID, Field: "on.where", Value: c.On.Where,
				Problem: "asks about the customer", Hint: "where looks at the event alone; put the rest into audience"})
		}
	}
	if c.On.Event != "" {
		compiled.audience = read("audience", c.Audience, rule.WithEvent(), known)
	} else {
		compiled.audience = read("audience", c.Audience, known)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if compiled.audience != nil {
		compiled.chosenBy = compiled.audience.Requires()
	}
	for _, id := range []string{c.On.SegmentEntered, c.On.SegmentExited} {
		if id != "" && !slices.Contains(compiled.chosenBy, id) {
			compiled.chosenBy = append(compiled.chosenBy, id)
		}
	}
	return compiled, nil
}
