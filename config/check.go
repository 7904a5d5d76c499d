package config

import (
	"errors"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"attune/config/document"
	"attune/pipeline/rule"
	"attune/stages/deliver/template"
	"attune/stages/trigger"
)

// Check finds what is wrong between a workspace's files and inside its rules and templates: unknown segments,
// templates, fields and destinations, mistakes in rules, and what they ask of fields that the installation keeps behind. The
// error is a [Problems]. Files that have problems of their own are left out, since what they lead to says nothing new.
func Check(ws *Workspace, in Installation) error {
	compiler, err := ws.compiler()
	if err != nil {
		return err
	}
	c := &check{ws: ws, compiler: compiler, destinations: in.Destinations, fields: newFields(in.Normalize.Declared()), segments: maps.Clone(ws.sources.ids)}
	if c.segments == nil {
		c.segments = map[string]bool{}
	}
	for _, s := range ws.Segments {
		c.segments[s.ID] = true
	}
	c.allSegments()
	c.allCampaigns()
	c.allTemplates()
	return c.problems.Err()
}

type check struct {
	ws           *Workspace
	compiler     *rule.Compiler
	destinations []string
	fields       fields
	segments     map[string]bool
	problems     Problems
}

func (c *check) add(p Problem) { c.problems = append(c.problems, p) }

// document is the file of a definition; one without places when the workspace was not read from files.
func (c *check) document(docs map[string]*document.Document, dir, id string) (doc *document.Document, skip bool) {
	doc = docs[id]
	if doc == nil {
		return &document.Document{File: path.Join(dir, id+".yaml")}, false
	}
	return doc, c.ws.sources.broken[doc.File]
}

func (c *check) allSegments() {
	var ids []string
	var rules []*rule.Rule
	for _, s := range c.ws.Segments {
		doc, skip := c.document(c.ws.sources.segments, segmentDir, s.ID)
		if skip {
			continue
		}
		if err := s.Validate(); err != nil {
			for _, e := range document.Leaves(err) {
				field, message := document.SplitField(e.Error())
				c.add(doc.Problem(field, "", message, ""))
			}
			continue
		}
		r, err := c.compiler.Compile(s.When, rule.WithOtherSegments(c.segments))
		c.rule(doc, "when", s.When, err)
		if err == nil {
			ids, rules = append(ids, s.ID), append(rules, r)
			c.mentions(doc, "when", s.When, r)
		}
	}
	var cycle *rule.CycleError
	if _, err := rule.NewSet(ids, rules); errors.As(err, &cycle) {
		doc, _ := c.document(c.ws.sources.segments, segmentDir, cycle.IDs[0])
		c.add(doc.Problem("when", "", cycle.Error(), "leave one of these in_segment out"))
	}
}

// rule tells the mistakes in a rule's text where they stand in the file.
func (c *check) rule(doc *document.Document, field, text string, err error) {
	found := rule.Errors(err)
	for _, e := range found {
		c.add(c.inRule(doc, field, text, e))
	}
	if err != nil && len(found) == 0 {
		c.add(doc.Problem(field, text, err.Error(), ""))
	}
}

func (c *check) inRule(doc *document.Document, field, text string, e *rule.Error) Problem {
	p := Problem{File: doc.File, Field: field, Value: text, Message: e.Message, Hint: e.Hint}
	p.Line, p.Column = doc.InText(field, e.Line, e.Column)
	return p
}

func (c *check) allCampaigns() {
	for _, one := range c.ws.Campaigns {
		doc, skip := c.document(c.ws.sources.campaigns, campaignDir, one.ID)
		if skip {
			continue
		}
		for _, e := range trigger.FieldErrors(one.Check(c.compiler, c.segments)) {
			c.add(c.inCampaign(doc, e))
		}
		c.campaignFields(doc, one)
		if name := one.Send.Template; name != "" && c.ws.Templates[name].HTML == "" && !c.ws.sources.templates[name] {
			c.add(doc.Problem("send.template", name, fmt.Sprintf("unknown template %q", name), c.among(name, slices.Collect(maps.Keys(c.ws.Templates)), "write templates/"+name+".html")))
		}
		if name := one.Send.Destination; name != "" && !slices.Contains(c.destinations, name) {
			c.add(doc.Problem("send.destination", name, fmt.Sprintf("unknown destination %q", name), c.among(name, c.destinations, "name it in attune.yaml, under destinations")))
		}
		c.template(doc.File, one.Send.Subject, func(line, column int) (int, int) { return doc.InText("send.subject", line, column) }, "send.subject")
	}
}

// among is a hint towards the known names, or to making the first.
func (c *check) among(name string, known []string, first string) string {
	if len(known) == 0 {
		return first
	}
	return document.DidYouMean(name, known)
}

func (c *check) inCampaign(doc *document.Document, e *trigger.FieldError) Problem {
	if e.Rule != nil {
		return c.inRule(doc, e.Field, e.Value, e.Rule)
	}
	p := doc.Problem(e.Field, e.Value, e.Problem, e.Hint)
	switch {
	case strings.HasPrefix(e.Field, "on.segment_"):
		p.Message = fmt.Sprintf("unknown segment %q", e.Value)
		p.Hint = c.among(e.Value, slices.Collect(maps.Keys(c.segments)), "write segments/"+e.Value+".yaml")
	case e.Value != "" && len(e.Value) <= 60 && !strings.Contains(e.Value, "\n"):
		p.Message = strconv.Quote(e.Value) + " " + e.Problem
	}
	return p
}

func (c *check) allTemplates() {
	for name, t := range c.ws.Templates {
		for _, part := range []struct{ file, source string }{
			{path.Join(templateDir, name+".html"), t.HTML}, {path.Join(templateDir, name+".txt"), t.Text},
		} {
			if !c.ws.sources.broken[part.file] {
				c.template(part.file, part.source, func(line, column int) (int, int) { return line, column }, "")
			}
		}
	}
}

// template finds mistakes in a template's text and names in it that no mail will have.
func (c *check) template(file, source string, at func(line, column int) (int, int), field string) {
	t, err := template.Parse(file, source)
	if err != nil {
		p := Problem{File: file, Field: field, Message: err.Error()}
		var e *template.Error
		if errors.As(err, &e) {
			p.Message, p.Hint = e.Message, e.Hint
			p.Line, p.Column = at(max(e.Line, 1), max(e.Column, 1))
		}
		c.add(p)
		return
	}
	for _, name := range t.Names() {
		message, hint := c.unknownName(name.Path)
		if message == "" {
			message, hint = c.fields.shown(name.Path)
		}
		if message == "" {
			continue
		}
		p := Problem{File: file, Field: field, Value: strings.Join(name.Path, "."), Message: message, Hint: hint}
		p.Line, p.Column = at(name.Line, name.Column)
		c.add(p)
	}
}

// unknownName says what is wrong with a name that a template asks for; empty: nothing.
func (c *check) unknownName(name []string) (message, hint string) {
	known := map[string][]string{
		"customer":        append(c.fields.personal(), "clv", "alive", "orders", "revenue", "refunds", "refunded", "traits", "segments"),
		"event":           {"name", "properties", "occurred"},
		"campaign":        nil,
		"key":             nil,
		"recommendations": nil,
	}
	fields, ok := known[name[0]]
	switch {
	case !ok:
		return fmt.Sprintf("unknown name %q", name[0]), document.DidYouMean(name[0], slices.Collect(maps.Keys(known)))
	case len(name) < 2 || fields == nil || slices.Contains(fields, name[1]):
		return "", ""
	}
	hint = document.DidYouMean(name[1], fields)
	if !strings.HasPrefix(hint, "did you mean") {
		hint = map[string]string{
			"customer": "what your events say of a customer is in customer.traits." + name[1],
			"event":    "what the event carries is in event.properties." + name[1],
		}[name[0]]
	}
	return fmt.Sprintf("%s has no %q", name[0], name[1]), hint
}
