package trigger_test

import (
	"testing"
	"time"

	"attune/pipeline/event"
	"attune/pipeline/profile"
)

// joined is an event that shows another profile to be this customer.
func joined(e event.Event) event.Event {
	e.Joins = []event.Join{{Loser: "p2"}}
	return e
}

// transfer brings another customer's profile.
func (r *run) transfer(at time.Duration, other *profile.Profile) {
	r.event(event.Event{ID: "transfer", Type: event.Transfer, Profile: "p1", Accepted: start.Add(at), Merge: &event.MergeRecord{Loser: "p2", Winner: "p1", State: profile.Encode(other)}})
}

// other is a profile with what happened to it.
func (r *run) other(events ...event.Event) *profile.Profile {
	r.t.Helper()
	p := profile.New("p2")
	for i, e := range events {
		if _, err := r.chain.Apply(p, &e, uint64(1000+i)); err != nil {
			r.t.Fatal(err)
		}
		if e.Type == event.Track {
			p.Happens(e.Name).At(e.Occurred, 0)
		}
	}
	return p
}

// While what the other half was is on its way, nothing is decided; then all of it is, once, about the whole customer.
func TestDecisionsWaitForTheOtherHalf(t *testing.T) {
	const campaigns = `
- {id: thanks, on: {event: Viewed}, audience: customer.orders == 0, cap: {per: day, max: 1}` + send + `
- {id: welcome, on: {segment_entered: vip}` + send + `
- {id: bye, on: {segment_exited: vip}` + send + `
- {id: cart, on: {event: Product Added}, wait: 1h, unless: {event: Order Completed}` + send + `
- {id: started, on: {event: Started}` + send + `
- {id: asked, on: {event: Asked}, wait: 10s` + send + `
`
	order := track("o", "Order Completed", -time.Minute, `{}`)
	for _, test := range []struct {
		name string
		do   func(r *run)
		want string
	}{
		{"the other half decides against it", func(r *run) {
			r.event(joined(track("e1", "Viewed", time.Second, `{}`)))
			r.transfer(2*time.Second, r.other(order))
		}, "2s thanks suppressed audience (customer.orders == 0) <- e1\n"},
		{"or for it, when it comes", func(r *run) {
			r.event(joined(track("e1", "Viewed", time.Second, `{}`)))
			r.transfer(2*time.Second, r.other())
		}, "2s thanks fired <- e1\n"},
		{"it never comes", func(r *run) {
			r.event(joined(track("e1", "Viewed", time.Second, `{}`)))
		}, "5m1s thanks fired <- e1\n"},
		{"it comes twice, and after that was given up", func(r *run) {
			r.event(joined(track("e1", "Viewed", time.Second, `{}`)))
			r.event(track("e2", "Other", 10*time.Minute, `{}`))
			r.transfer(11*time.Minute, r.other(track("e3", "Viewed", -time.Second, `{}`)))
			r.transfer(12*time.Minute, r.other(track("e3", "Viewed", -time.Second, `{}`)))
			r.event(track("e4", "Viewed", 13*time.Minute, `{}`))
		}, "5m1s thanks fired <- e1\n13m0s thanks suppressed cap (1 in the last 24h, at most 1) <- e4\n"},
		{"what was due before is decided before", func(r *run) {
			r.event(track("e1", "Product Added", 0, `{}`))
			r.event(joined(track("e2", "Other", time.Hour, `{}`)))
			r.transfer(time.Hour+time.Second, r.other(order))
		}, "1h0m0s cart fired <- e1\n"},
		{"a wait of the loser", func(r *run) {
			r.event(joined(track("e1", "Other", 0, `{}`)))
			r.transfer(time.Second, r.other(track("e2", "Product Added", -time.Minute, `{}`)))
		}, "59m0s cart fired <- e2\n"},
		{"that the winner's order has cancelled", func(r *run) {
			r.event(joined(track("e1", "Order Completed", 0, `{}`)))
			r.profile.Happens("Order Completed").At(start, 0) // as enrich does
			r.transfer(time.Second, r.other(track("e2", "Product Added", -time.Minute, `{}`)))
		}, "1s cart suppressed cancelled (by Order Completed) <- e2\n"},
		{"a wait of the winner that the loser's order has cancelled", func(r *run) {
			r.event(joined(track("e1", "Product Added", 0, `{}`)))
			later := order
			later.Occurred = start.Add(time.Second)
			r.transfer(2*time.Second, r.other(later))
		}, "2s cart suppressed cancelled (by Order Completed) <- e1\n"},
		{"an order from before does not cancel it", func(r *run) {
			r.event(joined(track("e1", "Product Added", 0, `{}`)))
			r.transfer(2*time.Second, r.other(order))
		}, "1h0m0s cart fired <- e1\n"},
		{"each of what happens meanwhile, at once or after a wait", func(r *run) {
			r.event(joined(track("e1", "Started", time.Second, `{}`)))
			r.event(track("e2", "Started", 2*time.Second, `{}`))
			r.event(track("e3", "Asked", 3*time.Second, `{}`))
			r.event(track("e4", "Asked", 8*time.Second, `{}`)) // in the place of e3, which would not be due yet
			r.event(track("e5", "Asked", 19*time.Second, `{}`))
			r.transfer(20*time.Second, r.other(track("e6", "Started", -time.Second, `{}`)))
		}, "20s started fired <- e1\n20s started fired <- e2\n20s asked fired <- e4\n29s asked fired <- e5\n"},
		{"one of the flips meanwhile", func(r *run) {
			r.event(joined(track("e1", "Enter", 0, `{"segment":"vip"}`)))
			r.event(track("e2", "Exit", time.Second, `{"segment":"vip"}`))
			r.event(track("e3", "Enter", 2*time.Second, `{"segment":"vip"}`))
			r.transfer(3*time.Second, r.other())
		}, "3s bye suppressed merged (segment_exited) <- e2\n3s welcome fired <- e3\n"},
		{"a flip of the half that is none of the whole", func(r *run) {
			r.event(joined(track("e1", "Enter", 0, `{"segment":"vip"}`)))
			r.event(track("e2", "Exit", time.Second, `{"segment":"vip"}`))
			r.transfer(2*time.Second, r.other())
		}, "2s welcome suppressed merged (segment_entered) <- e1\n2s bye fired <- e2\n"},
		{"a segment that the loser was in is not entered again", func(r *run) {
			r.event(joined(track("e1", "Other", 0, `{}`)))
			r.transfer(2*time.Second, r.other(track("e3", "Enter", -time.Second, `{"segment":"vip"}`)))
		}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRun(t, 0, stage(t, campaigns))
			granted := consent(true)
			granted.Occurred, granted.Accepted = start.Add(-time.Hour), start.Add(-time.Hour)
			r.event(granted)
			test.do(r)
			r.end(start.Add(3 * time.Hour))
			if got := print(r.decisions); got != test.want {
				t.Errorf("decisions:\n%swant:\n%s", got, test.want)
			}
		})
	}
}
