package scenario_test

import (
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"attune/config"
	"attune/config/scenario"
)

// shop is a workspace for scenarios that go wrong.
func shop(t *testing.T) *config.Workspace {
	t.Helper()
	ws, err := config.CheckWorkspace(fstest.MapFS{
		"workspace.yaml":    {Data: []byte("name: test\n")},
		"segments/fan.yaml": {Data: []byte("id: fan\nwhen: did(\"Liked\", \"1h\")\n")},
		"segments/pro.yaml": {Data: []byte("id: pro\nwhen: trait(\"plan\") == \"pro\"\n")},
		"campaigns/hello.yaml": {Data: []byte("id: hello\non: {segment_entered: fan}\n" +
			"send: {destination: mail, from: a@shop.example, subject: 'Hi {{ customer.first_name }} {{ customer.email }}', template: t}\n")},
		"templates/t.html": {Data: []byte("<p>{{ customer.first_name }} {{ customer.traits.plan }} {{ customer.last_name | truncate(5) }}</p>")},
	}, config.DefaultInstallation("mail"))
	if err != nil {
		t.Fatal(err)
	}
	return ws
}

func run(t *testing.T, text string) string {
	t.Helper()
	ws := shop(t)
	s, problems := scenario.Parse("tests/x.scenario.yaml", []byte(text), ws, config.DefaultInstallation("mail"))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	failures, err := s.Run(ws)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, f := range failures {
		b.WriteString(f.Error() + "\n")
	}
	return b.String()
}

func TestWhatIsAsExpectedPasses(t *testing.T) {
	for name, text := range map[string]string{
		"windows are half open, also late": `
steps:
  - {at: 10m, track: {user: u1, event: Liked, occurred: 0s}}
  - {at: 59m59s, expect: {segments: {fan: [u1]}}}
  - {at: 1h, expect: {segments: {fan: []}}}`,
		"a due instant comes before the events of that instant": `
steps:
  - {at: 0s, identify: {user: u1, consent: {email: true}}}
  - {at: 0s, track: {user: u1, event: Liked}}
  - {at: 1h, track: {user: u1, event: Liked}}
  - at: 1h
    expect:
      segments: {fan: [u1]}
      decisions:
        - {user: u1, campaign: hello, outcome: fired, at: 0s}
        - {user: u1, campaign: hello, outcome: fired, at: 1h}`,
		"a visitor who signs in is one with the user": `
steps:
  - {at: 0s, track: {anonymous: a1, event: Liked}}
  - {at: 0s, expect: {segments: {fan: [a1]}}}
  - {at: 1m, identify: {user: u1, anonymous: a1, traits: {plan: pro}}}
  - {at: 1m, expect: {segments: {fan: [u1], pro: [u1]}}}
  - {at: 2m, track: {user: u2, anonymous: a1, event: Other}}
  - {at: 2m, expect: {segments: {fan: [u1]}}}`,
		"a known user and a visitor with a history become one, and two users don't": `
steps:
  - {at: 0s, identify: {user: u1, consent: {email: true}}}
  - {at: 1m, track: {anonymous: a1, event: Liked}}
  - {at: 1m, expect: {segments: {fan: [a1]}, decisions: [{user: a1, campaign: hello, outcome: suppressed, reason: consent_unknown}]}}
  - {at: 2m, identify: {user: u1, anonymous: a1}}
  - {at: 2m, expect: {segments: {fan: [u1]}, decisions: []}}
  - {at: 3m, track: {user: u2, anonymous: a1, event: Liked}}
  - {at: 3m, expect: {segments: {fan: [u1, u2]}, decisions: [{user: u2, campaign: hello, outcome: suppressed, reason: consent_unknown}]}}
  - {at: 61m, expect: {segments: {fan: [u2]}}}`,
		"personal traits come from the vault, and are not in the profile": `
steps:
  - {at: 0s, identify: {user: u1, traits: {firstName: Ada, e-mail: ada@shop.example, plan: pro}, consent: {email: true}}}
  - {at: 1m, track: {user: u1, event: Liked}}
  - {at: 1m, expect: {deliveries: [{user: u1, campaign: hello, subject: Hi Ada ada@shop.example, contains: ["<p>Ada pro "]}]}}`,
		"lists begin anew with each expect": `
steps:
  - {at: 0s, track: {user: u1, event: Liked}}
  - {at: 0s, expect: {decisions: [{user: u1, campaign: hello, outcome: suppressed, reason: consent_unknown}]}}
  - {at: 1m, expect: {decisions: [], deliveries: []}}`,
		"subscribed and unsubscribed": `
steps:
  - {at: 0s, track: {user: u1, event: Subscribed}}
  - {at: 0s, track: {user: u1, event: Liked}}
  - {at: 2h, track: {user: u1, event: Unsubscribed, properties: {channel: email}}}
  - {at: 2h, track: {user: u1, event: Liked}}
  - at: 2h
    expect:
      decisions:
        - {user: u1, campaign: hello, outcome: fired}
        - {user: u1, campaign: hello, outcome: suppressed, reason: consent_withdrawn}`,
		"a page is no event of a rule": `
steps:
  - {at: 0s, page: {user: u1, name: Liked}}
  - {at: 0s, expect: {segments: {fan: []}}}`,
	} {
		t.Run(name, func(t *testing.T) {
			if got := run(t, text); got != "" {
				t.Errorf("failures:\n%s", got)
			}
		})
	}
}

func TestFailuresAreReadable(t *testing.T) {
	got := run(t, `name: wrong everywhere
steps:
  - {at: 0s, identify: {user: u1, traits: {first_name: Ada}, consent: {email: true}}}
  - {at: 0s, identify: {user: u2, consent: {email: true}}}
  - {at: 1m, track: {user: u1, event: Liked}}
  - {at: 2m, track: {user: u2, event: Liked}}
  - at: 3m
    expect:
      segments: {fan: [u2, u3], pro: []}
      deliveries:
        - {user: u1, campaign: hello, subject: Hi Ida}
        - {user: u2, campaign: hello}
        - {user: u3, campaign: hello, at: 3m}
      decisions: []
`)
	want := `tests/x.scenario.yaml:9:23: members of fan at 3m are not as expected
    + u1
      u2
    - u3
    why u1 is in fan:
      true until 1h1m: did("Liked", "1h") (is: last 1m)
tests/x.scenario.yaml:11:9: deliveries since the last expect are not as expected
    - {user: u1, campaign: hello, subject: Hi Ida}
    + {user: u1, campaign: hello, at: 1m, destination: mail, template: t, subject: Hi Ada}
      {user: u2, campaign: hello}
    - {user: u3, campaign: hello, at: 3m}
tests/x.scenario.yaml:14:18: decisions since the last expect are not as expected
    + {user: u1, campaign: hello, outcome: fired, at: 1m}
    + {user: u2, campaign: hello, outcome: fired, at: 2m}
`
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestRunAllReports(t *testing.T) {
	ws := shop(t)
	report, err := scenario.RunAll(fstest.MapFS{
		"tests/a.scenario.yaml": {Data: []byte("name: good\nsteps: [{at: 0s, expect: {segments: {fan: []}}}]\n")},
		"tests/b.scenario.yaml": {Data: []byte("steps: [{at: 0s, expect: {segments: {fan: [u1]}}}]\n")},
	}, ws, config.DefaultInstallation("mail"))
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := report.Write(&b, true); err != nil {
		t.Fatal(err)
	}
	want := `ok   good (tests/a.scenario.yaml)
FAIL b (tests/b.scenario.yaml)
tests/b.scenario.yaml:1:43: members of fan at 0s are not as expected
    - u1
2 scenarios, 1 failed
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if report.Failed() != 1 {
		t.Errorf("%d failed", report.Failed())
	}
}

func TestTheSameScenarioRunsTheSame(t *testing.T) {
	ws := shop(t)
	text := "steps:\n"
	for _, u := range []string{"u3", "u1", "u2"} {
		text += "  - {at: 0s, track: {user: " + u + ", event: Liked}}\n"
	}
	text += "  - {at: 2h, expect: {decisions: []}}\n"
	s, problems := scenario.Parse("x", []byte(text), ws, config.DefaultInstallation("mail"))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	first, err := s.Run(ws)
	if err != nil || len(first) != 1 {
		t.Fatalf("%v, %v", first, err)
	}
	for range 10 {
		if again, _ := s.Run(ws); !cmp.Equal(first, again) {
			t.Fatalf("differs:\n%s", cmp.Diff(first, again))
		}
	}
}

// Calls are normalized by the settings of the installation.
func TestSettingsOfTheInstallation(t *testing.T) {
	const text = `steps:
  - {at: 0s, identify: {user: u1, traits: {plan: pro, city: Rome, card: "7", phone: 030 901820}}}
  - {at: 3d, track: {user: u1, event: Liked, occurred: 2d23h30m}}
  - at: 3d
    expect:
      profile: {u1: {trait.plan: pro, trait.city: null, 'has_trait("card")': true, 'trait("card").startsWith("hash:")': true}}
      decisions: []
`
	strict := config.DefaultInstallation("mail")
	strict.Normalize.Strict, strict.Normalize.OpenFields, strict.Normalize.PersonalFields = true, []string{"plan"}, []string{"card"}
	strict.Normalize.MaxLate = 10 * time.Minute
	for _, c := range []struct {
		in   config.Installation
		want int
	}{{strict, 0}, {config.DefaultInstallation("mail"), 2}} {
		ws := shop(t)
		s, problems := scenario.Parse("tests/x.scenario.yaml", []byte(text), ws, c.in)
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		failures, err := s.Run(ws)
		if err != nil || len(failures) != c.want {
			t.Errorf("%d failures, %v: %v", len(failures), err, failures)
		}
	}
}
