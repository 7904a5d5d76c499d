// Package scenario tests a workspace by time travel: a scenario is a list of what customers do and what is
// expected then, run through the same chain that decides in production, in memory, with a clock of its own.
//
//	name: two views, then the window closes
//	steps:
//	  - {at: 0s,  track: {user: u1, event: Product Viewed, properties: {category: sneakers}}}
//	  - {at: 1h,  track: {user: u1, event: Product Viewed, properties: {category: sneakers}}}
//	  - {at: 1h,  expect: {segments: {hot-sneaker-fans: [u1]}}}
//	  - {at: 24h, expect: {segments: {hot-sneaker-fans: []}}}
//
// `at` is the time since the scenario's start; steps run in the order written, and what is due at an instant has
// happened before the steps of that instant. expect.segments is the exact membership at that instant;
// expect.deliveries and expect.decisions are the exact lists since the last expect, in order. What an expect
// doesn't name it doesn't look at. Customers are named by user id or anonymous id.
//
// Calls are normalized by the stage that does so in production, so an alias, a group, consent and personal fields are
// what they are there. expect.profile looks at what is known of customers, by the names that rules have for it:
//
//   - {at: 1h, expect: {profile: {u1: {orders: 2, lifecycle: new, trait.plan: pro, consent.email: true, 'in_cart("p1")': false}}}}
//
// apply changes the definitions in the middle of it:
//
//   - {at: 2h, apply: {segments: {hot-sneaker-fans: 'did("Product Viewed", "7d")'}, campaigns: {cart: {wait: 2h}}, remove: [old-one]}}
package scenario

import (
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"attune/config"
	"attune/config/document"
	"attune/pipeline"
)

// File is what a scenario file holds.
type File struct {
	// Name says what the scenario shows.
	Name string `yaml:"name"`
	// Steps run in the order written.
	Steps []Step `yaml:"steps"`
}

// Step is one thing that happens, or one look at the state: exactly one of track, identify, page, alias, group, apply
// and expect.
type Step struct {
	// At is the time since the scenario's start: 0s, 90m, 3d. Never earlier than the step before.
	At time.Duration `yaml:"at"`
	// Track is something that a customer did.
	Track *Track `yaml:"track"`
	// Identify is something that is known of a customer.
	Identify *Identify `yaml:"identify"`
	// Page is a page that a customer saw.
	Page *Page `yaml:"page"`
	// Alias says that a customer was known by another id before.
	Alias *Alias `yaml:"alias"`
	// Group is a group, such as a company, that a customer belongs to.
	Group *Group `yaml:"group"`
	// Apply changes the definitions, at once and for everybody.
	Apply *Apply `yaml:"apply"`
	// Expect is what must be true at this instant.
	Expect *Expect `yaml:"expect"`
}

// Who is what every call says of the customer and of itself. At least one of user and anonymous.
type Who struct {
	// User is the customer's id.
	User string `yaml:"user"`
	// Anonymous is the id of a visitor's device; together with user it says that both are one.
	Anonymous string `yaml:"anonymous"`
	// Consent is what the call says of it, by channel: {email: true} grants, false withdraws.
	Consent map[string]bool `yaml:"consent"`
	// Context is what the call carries beside, such as {timezone: Europe/Rome}.
	Context map[string]any `yaml:"context"`
	// Occurred is when it happened, as time since the scenario's start, for what arrives late. Default: at.
	Occurred *time.Duration `yaml:"occurred"`
	// Historical marks an import: it changes what is known and fires nothing.
	Historical bool `yaml:"historical"`
}

// Track is one track call.
type Track struct {
	Who
	// Event is its name: Product Viewed.
	Event string `yaml:"event"`
	// Properties are what it carries.
	Properties map[string]any `yaml:"properties"`
}

// Identify is one identify call.
type Identify struct {
	Who
	// Traits are what is said of the customer. Personal ones go to the vault, as in production.
	Traits map[string]any `yaml:"traits"`
}

// Page is one page call.
type Page struct {
	Who
	// Name is the page's.
	Name string `yaml:"name"`
	// Properties are what it carries.
	Properties map[string]any `yaml:"properties"`
}

// Alias is one alias call.
type Alias struct {
	Who
	// Previous is the id, a user's or a visitor's, by which the customer was known before.
	Previous string `yaml:"previous"`
}

// Group is one group call.
type Group struct {
	Who
	// Group is the group's id.
	Group string `yaml:"group"`
	// Traits are what is said of it; they count as the customer's.
	Traits map[string]any `yaml:"traits"`
}

// Expect is what must be true. What is left out is not looked at.
type Expect struct {
	// Segments are the exact members by segment, as user ids or anonymous ids.
	Segments map[string][]string `yaml:"segments"`
	// Deliveries are the exact mails since the last expect, in order.
	Deliveries *[]Delivery `yaml:"deliveries"`
	// Decisions are the exact decisions since the last expect, in order.
	Decisions *[]Decision `yaml:"decisions"`
	// Profile is what is known of customers, by user id or anonymous id: names after "customer." in rules, trait.NAME,
	// consent.CHANNEL, or anything else that rules compare, and its value; null for what must be absent.
	Profile map[string]map[string]any `yaml:"profile"`
}

// Delivery is a mail that is expected. user and campaign are compared always, the rest where it is given.
type Delivery struct {
	User     string `yaml:"user"`
	Campaign string `yaml:"campaign"`
	// At is when it was decided, as time since the scenario's start.
	At          *time.Duration `yaml:"at"`
	Destination string         `yaml:"destination"`
	Template    string         `yaml:"template"`
	// Subject is the rendered one.
	Subject string `yaml:"subject"`
	// Contains are texts that the rendered HTML holds.
	Contains []string `yaml:"contains"`
}

// Decision is a decision that is expected. user, campaign, outcome and reason are compared always, the rest where it
// is given.
type Decision struct {
	User     string `yaml:"user"`
	Campaign string `yaml:"campaign"`
	// Outcome is fired, held or suppressed.
	Outcome string `yaml:"outcome"`
	// Reason is why not; empty for what fired.
	Reason string `yaml:"reason"`
	// Key is the occasion's.
	Key string `yaml:"key"`
	// At is when it was decided, as time since the scenario's start.
	At *time.Duration `yaml:"at"`
}

// Scenario is one scenario that can be run.
type Scenario struct {
	Name string
	Path string // of the file in the workspace
	file File
	doc  *document.Document
	in   config.Installation
}

// MaxAt is how long a scenario may last.
const MaxAt = 5 * 365 * 24 * time.Hour

// Load reads all scenarios of a workspace folder, sorted by file, and checks them against the workspace and the
// installation, by whose settings they run. The error is a config.Problems; the scenarios without problems are returned beside it.
func Load(fsys fs.FS, ws *config.Workspace, in config.Installation) ([]*Scenario, error) {
	files, problems, err := list(fsys)
	if err != nil {
		return nil, err
	}
	var scenarios []*Scenario
	for _, file := range files {
		s, found := open(fsys, file, ws, in)
		if problems = append(problems, found...); len(found) == 0 {
			scenarios = append(scenarios, s)
		}
	}
	return scenarios, problems.Err()
}

// list are the scenarios' files, sorted, and those beside them that are none.
func list(fsys fs.FS) (files []string, problems config.Problems, err error) {
	all, err := fs.Glob(fsys, path.Join(config.TestDir, "*"))
	if err != nil {
		return nil, nil, fmt.Errorf("scenarios: %w", err)
	}
	for _, file := range all {
		switch base := path.Base(file); {
		case strings.HasPrefix(base, "."), base == "README.md":
		case !strings.HasSuffix(base, config.ScenarioSuffix):
			problems = append(problems, config.Problem{File: file, Message: "is not read", Hint: "its name must end in " + config.ScenarioSuffix})
		default:
			files = append(files, file)
		}
	}
	return files, problems, nil
}

func open(fsys fs.FS, file string, ws *config.Workspace, in config.Installation) (*Scenario, config.Problems) {
	data, err := fs.ReadFile(fsys, file)
	if err != nil {
		return nil, config.Problems{{File: file, Message: err.Error()}}
	}
	return Parse(file, data, ws, in)
}

// Parse reads one scenario and checks it against the workspace and the installation.
func Parse(file string, data []byte, ws *config.Workspace, in config.Installation) (*Scenario, config.Problems) {
	s := &Scenario{Path: file, in: in}
	doc, problems := document.Parse(file, data)
	if doc == nil {
		return nil, problems
	}
	s.doc = doc
	if problems = append(problems, doc.Decode(&s.file)...); len(problems) > 0 {
		return nil, problems
	}
	if s.Name = s.file.Name; s.Name == "" {
		s.Name = strings.TrimSuffix(path.Base(file), config.ScenarioSuffix)
	}
	problems = s.check(ws)
	return s, problems
}

func (s *Scenario) check(ws *config.Workspace) config.Problems {
	var ps config.Problems
	add := func(path, message, hint string) { ps = append(ps, s.doc.Problem(path, "", message, hint)) }
	if len(s.file.Steps) == 0 {
		add("steps", "is missing: the scenario has no steps", "")
	}
	known := map[string][]string{}
	for _, d := range ws.Segments {
		known["segment"] = append(known["segment"], d.ID)
	}
	for _, c := range ws.Campaigns {
		known["campaign"] = append(known["campaign"], c.ID)
	}
	knows := func(path, what, id string) {
		switch {
		case id == "":
			add(path, "is missing", "")
		case !slices.Contains(known[what], id):
			slices.Sort(known[what])
			known[what] = slices.Compact(known[what])
			add(path, fmt.Sprintf("unknown %s %q", what, id), document.DidYouMean(id, known[what]))
		}
	}
	before := time.Duration(0)
	for i, step := range s.file.Steps {
		at := fmt.Sprintf("steps[%d]", i)
		if !s.doc.Has(at + ".at") {
			add(at, "at is missing", "write when it happens, such as at: 1h")
			step.At = before
		}
		if step.At < before {
			add(at+".at", fmt.Sprintf("%s is before the step above (%s)", written(step.At), written(before)), "steps run in the order written")
		}
		if before = step.At; step.At > MaxAt {
			add(at+".at", "is more than 5 years after the start", "")
		}
		kinds := 0
		if step.Track != nil {
			kinds++
			s.checkWho(&ps, at+".track", step.At, step.Track.Who)
			if step.Track.Event == "" {
				add(at+".track", "event is missing", "name what happened, such as event: Product Viewed")
			}
		}
		if step.Identify != nil {
			kinds++
			s.checkWho(&ps, at+".identify", step.At, step.Identify.Who)
		}
		if step.Page != nil {
			kinds++
			s.checkWho(&ps, at+".page", step.At, step.Page.Who)
		}
		if step.Alias != nil {
			kinds++
			s.checkWho(&ps, at+".alias", step.At, step.Alias.Who)
			if step.Alias.Previous == "" || step.Alias.User == "" {
				add(at+".alias", "needs user and previous", "such as alias: {user: u1, previous: a1}")
			}
		}
		if step.Group != nil {
			kinds++
			s.checkWho(&ps, at+".group", step.At, step.Group.Who)
			if step.Group.Group == "" {
				add(at+".group", "group is missing", "name it, such as group: {user: u1, group: acme}")
			}
		}
		if step.Apply != nil {
			kinds++
			ws = s.checkApply(&ps, at+".apply", ws, step.Apply)
			known["segment"] = slices.AppendSeq(known["segment"], maps.Keys(step.Apply.Segments)) // one that went may be expected to have nobody
			known["campaign"] = slices.AppendSeq(known["campaign"], maps.Keys(step.Apply.Campaigns))
		}
		if e := step.Expect; e != nil {
			kinds++
			s.checkProfiles(&ps, at+".expect.profile", ws, e.Profile)
			for _, id := range slices.Sorted(maps.Keys(e.Segments)) {
				knows(at+".expect.segments."+id, "segment", id)
			}
			if e.Segments == nil && e.Deliveries == nil && e.Decisions == nil && e.Profile == nil {
				add(at+".expect", "expects nothing", "name segments, deliveries, decisions or profile")
			}
			for j, d := range deref(e.Deliveries) {
				knows(fmt.Sprintf("%s.expect.deliveries[%d].campaign", at, j), "campaign", d.Campaign)
			}
			for j, d := range deref(e.Decisions) {
				path := fmt.Sprintf("%s.expect.decisions[%d]", at, j)
				knows(path+".campaign", "campaign", d.Campaign)
				if outcomes := []string{string(pipeline.Fired), string(pipeline.Held), string(pipeline.Suppressed)}; !slices.Contains(outcomes, d.Outcome) {
					add(path+".outcome", fmt.Sprintf("unknown outcome %q", d.Outcome), document.DidYouMean(d.Outcome, outcomes))
				}
			}
		}
		if kinds != 1 {
			add(at, fmt.Sprintf("holds %d things", kinds), "give exactly one of track, identify, page, alias, group, apply and expect")
		}
	}
	return ps
}

func (s *Scenario) checkWho(ps *config.Problems, path string, at time.Duration, w Who) {
	if w.User == "" && w.Anonymous == "" {
		*ps = append(*ps, s.doc.Problem(path, "", "says nobody", "give user, anonymous or both"))
	}
	if w.Occurred != nil && *w.Occurred > at {
		*ps = append(*ps, s.doc.Problem(path+".occurred", "", fmt.Sprintf("%s is after at (%s)", written(*w.Occurred), written(at)), ""))
	}
}

func deref[T any](list *[]T) []T {
	if list == nil {
		return nil
	}
	return *list
}

// written is a duration as a scenario has it: 1h30m, 3d.
func written(d time.Duration) string {
	if d == 0 {
		return "0s"
	}
	var b strings.Builder
	if d < 0 {
		b.WriteByte('-')
		d = -d
	}
	for _, u := range []struct {
		name string
		size time.Duration
	}{{"d", 24 * time.Hour}, {"h", time.Hour}, {"m", time.Minute}, {"s", time.Second}, {"ms", time.Millisecond}} {
		if n := d / u.size; n > 0 {
			fmt.Fprintf(&b, "%d%s", n, u.name)
			d %= u.size
		}
	}
	return b.String()
}
