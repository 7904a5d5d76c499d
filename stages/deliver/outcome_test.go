package deliver

import (
	"encoding/json"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"attune/pipeline"
	"attune/pipeline/embedded/mailbox"
	"attune/pipeline/event"
	"attune/pipeline/topology"
)

func TestMailAsItIsSent(t *testing.T) {
	b := newBench(t)
	box, err := mailbox.Start(t.Context(), mailbox.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer box.Close()
	b.person("anna", map[string]string{"email": "anna@shop.example", "first_name": "Anna <3"})
	b.enqueue(nil, delivery("d1"))
	b.run(b.stage("mail", box.SMTPAddr()))
	b.awaitEnds(1)
	list := box.List()
	if len(list) != 1 {
		t.Fatalf("%d mails, want 1", len(list))
	}
	m, err := box.Get(list[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{"to": m.To, "from": m.From, "subject": m.Subject, "id": m.MessageID, "html": strings.TrimSpace(m.HTML), "text": strings.TrimSpace(m.Text)}
	want := map[string]string{
		"to": "anna@shop.example", "from": got["from"], "subject": "Hello Anna <3", "id": "<d1@shop.example>",
		"html": "<p>Hi Anna &lt;3, 12.5 E</p>", "text": "Hi Anna <3",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if !strings.Contains(m.From, "hi@shop.example") {
		t.Errorf("from %s", m.From)
	}
}

// outcomes are all ends of a delivery: its record, its metric and the call to RAW say the same, and nothing of
// it holds a personal field.
func TestOutcomes(t *testing.T) {
	const address, first = "canary-address@canary.example", "Canarina"
	b := newBench(t)
	s := startServer(t, &server{
		rcpt: func(to string) error {
			if strings.HasPrefix(to, "refused-") {
				return says(550, "no mailbox <"+to+"> of Canarina here") // servers do repeat addresses
			}
			return nil
		},
		data: func(conn net.Conn, id string, _ int) error {
			switch id {
			case "lost":
				conn.Close()
			case "spam":
				return says(554, "looks like spam to "+address)
			}
			return nil
		},
	})
	b.person("anna", map[string]string{"email": address, "first_name": first})
	b.person("refused", map[string]string{"email": "refused-" + address, "first_name": first})
	b.person("nameless", map[string]string{"first_name": first})
	now := time.Now()
	for _, c := range []struct {
		decision        string
		change          func(*pipeline.Delivery)
		outcome, reason string
		attempt         int
		came            int
		response        string
	}{
		{"accepted", func(*pipeline.Delivery) {}, "accepted", "", 1, 1, "250"},
		{"in-time", func(d *pipeline.Delivery) { d.NotAfter = event.At(now.Add(time.Hour)) }, "accepted", "", 1, 1, "250"},
		{"no-address", func(d *pipeline.Delivery) { d.Profile = "nameless" }, "dropped", "no_address", 0, 0, ""},
		{"nobody", func(d *pipeline.Delivery) { d.Profile = "nobody" }, "dropped", "no_address", 0, 0, ""},
		{"late", func(d *pipeline.Delivery) { d.NotAfter = event.At(now.Add(-time.Second)) }, "dropped", "late", 0, 0, ""},
		{"subject", func(d *pipeline.Delivery) { d.Subject = "{% if %}" }, "dropped", "render_failed", 0, 0, ""},
		{"endless", func(d *pipeline.Delivery) {
			d.Template, d.Data = "endless", event.Object(`{"event":{"list":[`+strings.Repeat("1,", 150)+`1]}}`)
		}, "dropped", "render_failed", 0, 0, ""},
		{"no-template", func(d *pipeline.Delivery) { d.Template = "gone" }, "dropped", "no_template", 0, 0, ""},
		{"refused", func(d *pipeline.Delivery) { d.Profile = "refused" }, "bounced", "refused", 1, 0, "550"},
		{"spam", func(*pipeline.Delivery) {}, "bounced", "refused", 1, 1, "554"},
		{"sender", func(d *pipeline.Delivery) { d.From = "nonsense" }, "bounced", "refused", 1, 0, "sender"},
		{"lost", func(*pipeline.Delivery) {}, "unknown", "connection_lost", 1, 1, "no reply"},
	} {
		t.Run(c.decision, func(t *testing.T) {
			b := *b
			b.t = t
			began := time.Now()
			label := strings.TrimSuffix("mail "+c.outcome+" "+c.reason, "")
			before := b.counted()[label]
			ends := len(b.ends())
			b.enqueue(nil, delivery(c.decision, c.change))
			stop := b.run(b.stage("mail", s.address))
			e := b.awaitEnds(ends + 1)[c.decision]
			stop()
			r := b.record(c.decision)
			if string(r.State) != c.outcome || r.Reason != c.reason || r.Attempt != c.attempt || !strings.Contains(r.Response, c.response) || r.At.Before(began) {
				t.Errorf("record %+v", r)
			}
			if came, _ := s.count(c.decision); came != c.came {
				t.Errorf("%d mails came, want %d", came, c.came)
			}
			if got := b.counted()[label]; got != before+1 {
				t.Errorf("metric %q is %g, want %g", label, got, before+1)
			}
			d := delivery(c.decision, c.change)
			want := end{Type: "delivery", Event: "Delivery", MessageID: "delivery-" + c.decision, ProfileID: d.Profile, Timestamp: event.At(r.At).String()}
			want.Properties.Decision, want.Properties.Campaign, want.Properties.Destination, want.Properties.Template = c.decision, "cart", "mail", d.Template
			want.Properties.Outcome, want.Properties.Reason, want.Properties.Response, want.Properties.Attempt = c.outcome, c.reason, r.Response, c.attempt
			if diff := cmp.Diff(want, e); diff != "" {
				t.Errorf("feedback (-want +got):\n%s", diff)
			}
		})
	}
	places := map[string]string{"log": b.log.String()}
	for _, stream := range []string{topology.Raw, topology.DeadLetter, "KV_" + topology.Deliveries} {
		for _, m := range b.stored(stream) {
			places[stream] += m.Subject + " " + string(m.Data) + "\n"
		}
	}
	for name := range b.counted() {
		places["metrics"] += name + "\n"
	}
	for place, text := range places {
		if strings.Contains(strings.ToLower(text), "canar") {
			for line := range strings.Lines(text) {
				if strings.Contains(strings.ToLower(line), "canar") {
					t.Errorf("%s holds a personal field: %s", place, line)
				}
			}
		}
	}
	if !strings.Contains(places["log"], "delivery ended") || !strings.Contains(places["KV_"+topology.Deliveries], "550") {
		t.Error("the places looked at hold nothing: the test shows nothing")
	}
}

func TestUnusableMessagesAreParked(t *testing.T) {
	b := newBench(t)
	large := strings.Repeat("[", 7<<20) // more than fits into a letter
	bad := []string{`{"decision":`, `{}`, `{"decision":"a b.>"}`, `null`, `[]`, large}
	for _, payload := range bad {
		b.put("OUTBOX.mail", nil, []byte(payload))
	}
	b.person("anna", map[string]string{"email": "anna@shop.example"})
	b.enqueue(nil, delivery("d1"))
	s := startServer(t, &server{})
	b.run(b.stage("mail", s.address))
	b.awaitEnds(1)
	letters := b.stored(topology.DeadLetter)
	if len(letters) != len(bad) {
		t.Fatalf("%d dead letters, want %d", len(letters), len(bad))
	}
	for i, m := range letters {
		var d pipeline.DeadLetter
		if err := json.Unmarshal(m.Data, &d); err != nil {
			t.Fatal(err)
		}
		whole := bad[i] == string(d.Payload) || bad[i] == large && len(d.Payload) > 5<<20 && strings.Contains(d.Error, "are kept")
		if m.Subject != "DEADLETTER.deliver" || d.Reason != "undecodable" || !whole || d.Error == "" || d.Position != uint64(i+1) {
			t.Errorf("on %s: %s at %d, %.100s", m.Subject, d.Reason, d.Position, d.Error)
		}
	}
}
