package trigger

import (
	"slices"

	"attune/pipeline/event"
	"attune/pipeline/profile"
)

// sent is how many mails of the campaign count against its cap, once those that are too old are forgotten.
func sent(p *profile.Profile, campaign string) int {
	n := 0
	for _, send := range p.Sends {
		if send.Campaign == campaign {
			n++
		}
	}
	return n
}

// forgetSends drops what no cap counts any more; the oldest are first.
func forgetSends(p *profile.Profile, now event.Instant) {
	n := 0
	for n < len(p.Sends) && p.Sends[n].At.Add(capWindow) <= now {
		n++
	}
	p.Sends = slices.Delete(p.Sends, 0, n)
}

// boundSends keeps the newest sends of each campaign, as many as a cap may count: two merged profiles bring more, and who is
// merged often would hold any number of them. Of those that are dropped a place can't be given back.
func boundSends(p *profile.Profile) {
	if len(p.Sends) <= MaxCap {
		return
	}
	kept := map[string]int{}
	for i := len(p.Sends) - 1; i >= 0; i-- {
		if kept[p.Sends[i].Campaign]++; kept[p.Sends[i].Campaign] > MaxCap {
			p.Sends = slices.Delete(p.Sends, i, i+1)
		}
	}
}

// release gives back the place of a mail that did not reach the customer.
func release(p *profile.Profile, e *event.Event) {
	decision, ok := e.Properties.Get("decision").Text()
	if !ok {
		return
	}
	switch outcome, _ := e.Properties.Get("outcome").Text(); outcome {
	case "dropped", "bounced":
		p.Sends = slices.DeleteFunc(p.Sends, func(send profile.Send) bool { return send.Decision == decision })
	}
}
