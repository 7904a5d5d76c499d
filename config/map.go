package config

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"

	"attune/pipeline/rule"
	"attune/stages/deliver/template"
	"attune/stages/enrich"
)

// RuleBytes is how large the part of a stored profile that rules look back at can get, in bytes.
func (ws *Workspace) RuleBytes() (int, error) {
	chain, err := ws.Chain(1, enrich.DefaultModels())
	if err != nil {
		return 0, err
	}
	n := 0
	for _, stage := range chain.Stages {
		if bounded, ok := stage.(interface{ MaxBytes() int }); ok {
			n += bounded.MaxBytes()
		}
	}
	return n, nil
}

// Map writes what feeds what, a line each: the events, traits and scores that segments, campaigns and the blocks of mails
// ask for, the segments that other segments and campaigns ask for, and the templates that campaigns send. A block is a
// line of a template that shows a field or depends on it. The workspace must have no problems.
func (ws *Workspace) Map(w io.Writer) error {
	feeds, err := ws.feeds()
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	for _, field := range slices.SortedFunc(maps.Keys(feeds), cmp.Compare[string]) {
		readers := feeds[field]
		slices.Sort(readers)
		fmt.Fprintf(table, "%s\t%s\n", strings.Replace(field, ":", " ", 1), strings.Join(slices.Compact(readers), ", "))
	}
	return table.Flush()
}

// feeds is who asks for a field ("segment loyal", "campaign cart (audience)"), by the field as rule.Reads names it.
func (ws *Workspace) feeds() (map[string][]string, error) {
	compiler, err := ws.compiler()
	if err != nil {
		return nil, err
	}
	segments := map[string]bool{}
	for _, s := range ws.Segments {
		segments[s.ID] = true
	}
	feeds := map[string][]string{}
	add := func(reader, text string, opts ...rule.Option) error {
		if text == "" {
			return nil
		}
		r, err := compiler.Compile(text, opts...)
		if err != nil {
			return fmt.Errorf("%s: %w", reader, err)
		}
		for _, field := range r.Reads().Fields {
			feeds[field] = append(feeds[field], reader)
		}
		for _, m := range r.Mentions() { // of events that are looked back at
			if !m.Trait {
				feeds["property:"+m.Path] = append(feeds["property:"+m.Path], reader)
			}
		}
		return nil
	}
	for _, s := range ws.Segments {
		if err := add("segment "+s.ID, s.When, rule.WithOtherSegments(segments)); err != nil {
			return nil, err
		}
	}
	for _, c := range ws.Campaigns {
		name := "campaign " + c.ID
		for _, rules := range [][2]string{{"on.where", c.On.Where}, {"audience", c.Audience}} {
			if err := add(name+" ("+rules[0]+")", rules[1], rule.WithEvent(), rule.WithSegments(segments)); err != nil {
				return nil, err
			}
		}
		note := func(field, id, part string) {
			if id != "" {
				feeds[field+id] = append(feeds[field+id], name+" ("+part+")")
			}
		}
		note("event:", c.On.Event, "on")
		note("property:", c.Key, "key")
		note("segment:", c.On.SegmentEntered, "on")
		note("segment:", c.On.SegmentExited, "on")
		if c.Unless != nil {
			note("event:", c.Unless.Event, "unless")
		}
		note("template:", c.Send.Template, "send")
		if err := blocks(feeds, name+" (send.subject)", c.Send.Subject, false); err != nil {
			return nil, err
		}
	}
	for name, t := range ws.Templates {
		for suffix, source := range map[string]string{".html": t.HTML, ".txt": t.Text} {
			if err := blocks(feeds, "block "+name+suffix, source, true); err != nil {
				return nil, err
			}
		}
	}
	return feeds, nil
}

// blocks notes which fields a template shows or depends on, line by line where it is a file.
func blocks(feeds map[string][]string, reader, source string, lines bool) error {
	t, err := template.Parse(reader, source)
	if err != nil {
		return fmt.Errorf("%s: %w", reader, err)
	}
	for _, name := range t.Names() {
		field, at := fieldOf(name.Path), reader
		if lines {
			at += fmt.Sprintf(":%d", name.Line)
		}
		feeds[field] = append(feeds[field], at)
	}
	return nil
}

// fieldOf is what a template calls by a path, as rules call it.
func fieldOf(path []string) string {
	if len(path) > 2 {
		switch rest := strings.Join(path[2:], "."); path[0] + "." + path[1] {
		case "customer.traits":
			return "trait:" + rest
		case "event.properties":
			return "property:" + rest
		}
	}
	return strings.Join(path[:min(len(path), 2)], ".")
}
