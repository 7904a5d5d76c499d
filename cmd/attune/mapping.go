package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"attune/stages/ingest"
	"attune/stages/ingest/mapping"
)

// mappingCommand helps to write mappings, and to try them.
type mappingCommand struct {
	Check mappingCheck `cmd:"" help:"Check mappings; every mistake has its place."`
	Run   mappingRun   `cmd:"" help:"Map a payload and print the calls that it becomes, one a line."`
	Show  mappingShow  `cmd:"" help:"Print a mapping that comes with Attune, to copy and change; without a name, their names."`
}

type mappingCheck struct {
	Mappings []string `arg:"" name:"mapping" help:"Files, or names of mappings that come with Attune."`
}

// Run is the command.
func (c *mappingCheck) Run(s streams) error {
	failed := false
	for _, name := range c.Mappings {
		m, err := mapping.Open(name, os.ReadFile, mapping.Options{})
		if err != nil {
			failed = true
			fmt.Fprintln(s.err, err)
			continue
		}
		fmt.Fprintf(s.out, "%s: the mapping %s is right\n", name, m.Name())
	}
	if failed {
		return reportedError{errors.New("mapping check: there are mistakes")}
	}
	return nil
}

type mappingRun struct {
	Mapping  string   `arg:"" help:"A file, or the name of a mapping that comes with Attune."`
	Payload  string   `arg:"" optional:"" default:"-" help:"The payload's file; - is standard input."`
	Header   []string `short:"H" sep:"none" placeholder:"'NAME: VALUE'" help:"A header that comes with it, such as 'X-Shopify-Topic: orders/create'."`
	Query    string   `placeholder:"A=B&C=D" help:"The query that comes with it."`
	Country  string   `placeholder:"COUNTRY" help:"Of phone numbers without country code."`
	Timezone string   `placeholder:"ZONE" default:"UTC" help:"Of times without one."`
}

// Run is the command. What the payload says of authentication is not looked at.
func (r *mappingRun) Run(ctx context.Context, s streams) error {
	zone, err := time.LoadLocation(r.Timezone)
	if err != nil {
		return fmt.Errorf("--timezone: %w", err)
	}
	m, err := mapping.Open(r.Mapping, os.ReadFile, mapping.Options{Country: r.Country, Zone: zone})
	if err != nil {
		fmt.Fprintln(s.err, err)
		return reportedError{err}
	}
	header := http.Header{}
	if strings.EqualFold(filepath.Ext(r.Payload), ".csv") {
		header.Set("Content-Type", "text/csv")
	}
	for _, h := range r.Header {
		name, value, ok := strings.Cut(h, ":")
		if !ok {
			return fmt.Errorf("--header %q: want 'Name: value'", h)
		}
		header.Set(strings.TrimSpace(name), strings.TrimSpace(value))
	}
	query, err := url.ParseQuery(r.Query)
	if err != nil {
		return fmt.Errorf("--query: %w", err)
	}
	var body []byte
	if r.Payload == "-" {
		body, err = io.ReadAll(io.LimitReader(s.in, mapping.MaxParked+1))
	} else {
		body, err = os.ReadFile(r.Payload)
	}
	if err != nil {
		return fmt.Errorf("read the payload: %w", err)
	}
	if len(body) > mapping.MaxParked {
		return fmt.Errorf("the payload is larger than the %d bytes that an entrance takes; import files: attune import", mapping.MaxParked)
	}
	calls, problems := ingest.DefaultConfig().Map(ctx, m, m.Request("request", header, query, body))
	for _, c := range calls {
		fmt.Fprintf(s.out, "%s\n", c.Payload)
	}
	for _, p := range problems {
		fmt.Fprintf(s.err, "%s (%s)\n", p, p.Reason)
		if p.Detail != "" {
			fmt.Fprintf(s.err, "  %s\n", p.Detail)
		}
	}
	if len(problems) > 0 {
		return reportedError{errors.New("mapping run: not all of the payload can be used")}
	}
	return nil
}

type mappingShow struct {
	Name string `arg:"" optional:"" help:"Its name."`
}

// Run is the command.
func (m *mappingShow) Run(s streams) error {
	if m.Name == "" {
		fmt.Fprintln(s.out, strings.Join(mapping.Shipped(), "\n"))
		return nil
	}
	data, err := mapping.Source(m.Name)
	if err != nil {
		return err
	}
	_, err = s.out.Write(data)
	return err
}
