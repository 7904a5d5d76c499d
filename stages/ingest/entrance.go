package ingest

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"attune/pipeline/event"
	"attune/pipeline/normal"
	"attune/stages/ingest/mapping"
)

// Entrance takes payloads of a producer that has a format of its own.
type Entrance struct {
	// Name says whose it is; the route is /v1/in/NAME. Lower-case letters, digits and hyphens.
	Name string `yaml:"name" json:"name"`
	// Mapping turns payloads into calls: cloudevents, contacts, ga4, shopify or webhook, or the path of a file.
	Mapping string `yaml:"mapping" json:"mapping"`
	// Secret is what the producer shows, or signs with, as the mapping says.
	Secret string `yaml:"secret" json:"secret"`
	// SecretFile is a file that holds the secret, instead.
	SecretFile string `yaml:"secret_file" json:"secret_file"`
	// PreviousSecret counts as well, while the producer changes to the new one. Empty: none.
	PreviousSecret string `yaml:"previous_secret" json:"previous_secret"`
	// Path is a further route, for producers that won't change theirs: /mp/collect. Empty: none.
	Path string `yaml:"path" json:"path"`
	// Country is that of phone numbers without country code, as a code or a name. Empty: they stay as they are.
	Country string `yaml:"country" json:"country"`
	// Timezone is that of times without one, an IANA name. Default UTC.
	Timezone string `yaml:"timezone" json:"timezone"`
}

// String leaves the secrets out, for logs.
func (e Entrance) String() string { return e.Name + ":***" }

var (
	entranceName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,62}$`)
	entrancePath = regexp.MustCompile(`^(/[A-Za-z0-9._~-]+)+$`)
)

// validateEntrances reports what is wrong with the entrances, without opening their files.
func (c Config) validateEntrances(bad func(format string, args ...any)) {
	names, paths := map[string]int{}, map[string]int{}
	for i, e := range c.Entrances {
		field := fmt.Sprintf("entrances[%d]", i)
		if !entranceName.MatchString(e.Name) {
			bad("%s.name: %q is no entrance's name; want lower-case letters, digits and hyphens, such as shop", field, e.Name)
		} else if j, taken := names[e.Name]; taken {
			bad("%s.name: %q is also the name of entrances[%d]; give each its own", field, e.Name, j)
		}
		names[e.Name] = i
		if e.Mapping == "" {
			bad("%s.mapping: empty; name one of %s, or a file", field, strings.Join(mapping.Shipped(), ", "))
		}
		if (e.Secret == "") == (e.SecretFile == "") {
			bad("%s.secret: give one of secret and secret_file; without one anybody could send", field)
		}
		if e.Path != "" {
			if first, _, _ := strings.Cut(strings.TrimPrefix(e.Path, "/"), "/"); !entrancePath.MatchString(e.Path) ||
				slices.Contains([]string{"v1", "metrics", "livez", "readyz", "debug", "mails"}, first) {
				bad("%s.path: %q can't be a route; want one such as /mp/collect that is not Attune's own", field, e.Path)
			}
			if j, taken := paths[e.Path]; taken {
				bad("%s.path: %q is also that of entrances[%d]", field, e.Path, j)
			}
			paths[e.Path] = i
		}
		if e.Country != "" {
			if _, ok := normal.New("").Country(e.Country); !ok {
				bad("%s.country: %q is no country; write an ISO 3166 code such as DE", field, e.Country)
			}
		}
		if _, err := time.LoadLocation(e.Timezone); err != nil || e.Timezone == "Local" {
			bad("%s.timezone: %q is no time zone; write an IANA name such as Europe/Berlin", field, e.Timezone)
		}
	}
}

// entrance is one that is open.
type entrance struct {
	name    string
	mapping *mapping.Mapping
	secrets []mapping.Secret
}

// openMapping reads the entrance's mapping.
func (e Entrance) openMapping() (*mapping.Mapping, error) {
	options := mapping.Options{Country: e.Country, IDs: e.Name}
	if e.Timezone != "" {
		zone, err := time.LoadLocation(e.Timezone)
		if err != nil {
			return nil, fmt.Errorf("timezone: %w", err)
		}
		options.Zone = zone
	}
	m, err := mapping.Open(e.Mapping, os.ReadFile, options)
	if err == nil && m.Authentication().None() {
		err = fmt.Errorf("the mapping %s says nothing of authenticate, so anybody could send; add such as "+
			`authenticate: {token: {header: Authorization, prefix: "Bearer "}}`, e.Mapping)
	}
	return m, err
}

func (e Entrance) open() (*entrance, error) {
	m, err := e.openMapping()
	if err != nil {
		return nil, fmt.Errorf("ingest: entrance %s: %w", e.Name, err)
	}
	secret := e.Secret
	if e.SecretFile != "" {
		data, err := os.ReadFile(e.SecretFile)
		if err != nil {
			return nil, fmt.Errorf("ingest: entrance %s: secret_file: %w", e.Name, err)
		}
		if secret = strings.TrimRight(string(data), "\r\n"); secret == "" {
			return nil, fmt.Errorf("ingest: entrance %s: secret_file: %s is empty", e.Name, e.SecretFile)
		}
	}
	return &entrance{name: e.Name, mapping: m, secrets: []mapping.Secret{mapping.Secret(secret), mapping.Secret(e.PreviousSecret)}}, nil
}

// limits are what a payload may become.
func (c Config) limits() mapping.Limits {
	return mapping.Limits{Items: c.MaxBatchEvents, CallBytes: c.MaxEventBytes, AllBytes: maxExpansion * c.MaxBatchBytes}
}

// Map maps a payload as an entrance with these settings would.
func (c Config) Map(ctx context.Context, m *mapping.Mapping, r mapping.Request) (calls []event.Raw, problems []*mapping.Problem) {
	in, problems := records(m.Map(ctx, r, c.limits()), time.Time{})
	return in.records, problems
}

// records are the calls that a payload became, ready for the log. What is no right call is a problem.
func records(r mapping.Result, accepted time.Time) (in *intake, problems []*mapping.Problem) {
	in = &intake{}
	problems = r.Problems
	for _, c := range r.Calls {
		record, p := Record(c)
		if p != nil {
			problems = append(problems, p)
			continue
		}
		record.Accepted = accepted
		in.records = append(in.records, record)
		in.kinds = append(in.kinds, c.Kind)
	}
	return in, problems
}

// Record is a call that a mapping made, ready for the log but for the moment at which it is accepted; or what is wrong
// with it.
func Record(c mapping.Call) (event.Raw, *mapping.Problem) {
	if _, err := document(c.Payload); err != nil {
		return event.Raw{}, &mapping.Problem{Reason: codeInvalidJSON, Item: c.Item, What: err.Error()}
	}
	var one call
	one.parse(c.Payload)
	if p := one.check(c.Kind); p != nil {
		return event.Raw{}, &mapping.Problem{Reason: p.Code, Item: c.Item, Field: p.Field, What: p.Message}
	}
	return event.Raw{Key: one.key(), Payload: c.Payload, SentAt: one.sentAt()}, nil
}

// shownProblems is how many are told in a dead letter.
const shownProblems = 5

func told(problems []*mapping.Problem) string {
	var all []string
	for i, p := range problems {
		if i == shownProblems {
			all = append(all, fmt.Sprintf("and %d more", len(problems)-i))
			break
		}
		all = append(all, p.Error())
	}
	return strings.Join(all, "; ")
}
