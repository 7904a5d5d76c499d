package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Kinds of what is Unused.
const (
	UnusedSegment  = "segment"
	UnusedTemplate = "template"
	UnusedField    = "field"
)

// Unused is something that the workspace defines and that has no effect on any mail.
type Unused struct {
	Kind string
	ID   string
	Why  string
}

// tierField is what a table of loyalty tiers declares.
const tierField = "customer.tier"

// Unused finds segments that no campaign asks for, by itself or through other segments, templates that no campaign sends,
// and declared fields that no rule and no template reads: those given, and the loyalty tier where there is a table of them.
// It is sorted. The workspace must have no problems.
func (ws *Workspace) Unused(declared ...string) ([]Unused, error) {
	feeds, err := ws.feeds()
	if err != nil {
		return nil, err
	}
	sent := map[string]bool{}
	for _, c := range ws.Campaigns {
		sent[c.Send.Template] = true
	}
	maps.DeleteFunc(feeds, func(_ string, readers []string) bool {
		return !slices.ContainsFunc(readers, func(reader string) bool { return !ofUnsent(reader, sent) })
	})
	var all []Unused
	serves := map[string]bool{} // by reader, as feeds names them; grows until nothing is added
	for grown := true; grown; {
		grown = false
		for _, s := range ws.Segments {
			if name := "segment " + s.ID; !serves[name] && (ws.mentioned(s.ID) || slices.ContainsFunc(feeds["segment:"+s.ID], func(reader string) bool {
				return strings.HasPrefix(reader, "campaign ") || serves[reader]
			})) {
				serves[name], grown = true, true
			}
		}
	}
	for _, s := range ws.Segments {
		if !serves["segment "+s.ID] {
			all = append(all, Unused{UnusedSegment, s.ID, "no campaign asks for it"})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(ws.Templates)) {
		if !sent[name] {
			all = append(all, Unused{UnusedTemplate, name, "no campaign sends it"})
		}
	}
	declared = slices.Clone(declared)
	if tiers := len(ws.Enrich.Loyalty.Tiers); tiers > 0 {
		declared = append(declared, tierField)
	}
	for _, field := range declared {
		name := field[strings.LastIndexByte(field, '.')+1:]
		if !read(feeds, field) && !ws.mentioned(name) {
			all = append(all, Unused{UnusedField, field, "no rule and no template reads it"})
		}
	}
	slices.SortFunc(all, func(a, b Unused) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	return slices.Compact(all), nil
}

// read tells whether a rule asks for a field, or a mail shows it, be it as a trait, a property or by its whole name.
func read(feeds map[string][]string, field string) bool {
	for fed := range feeds {
		_, name, _ := strings.Cut(fed, ":")
		if fed == field || name == field {
			return true
		}
	}
	return false
}

// ofUnsent tells whether a reader is a block of a template that no campaign sends: "block cart.html:7".
func ofUnsent(reader string, sent map[string]bool) bool {
	file, isBlock := strings.CutPrefix(reader, "block ")
	return isBlock && !sent[file[:strings.LastIndexByte(file, '.')]]
}

// mentioned tells whether a template that is sent, or a subject, has the word: what it does with it is not looked at.
func (ws *Workspace) mentioned(word string) bool {
	for _, c := range ws.Campaigns {
		t := ws.Templates[c.Send.Template]
		for _, text := range []string{c.Send.Subject, t.HTML, t.Text} {
			if slices.Contains(strings.FieldsFunc(text, func(r rune) bool {
				return !(r == '_' || r == '-' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z')
			}), word) {
				return true
			}
		}
	}
	return false
}
