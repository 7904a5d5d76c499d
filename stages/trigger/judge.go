package trigger

import (
	"crypto/sha256"
	"encoding/base32"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"time"
	"unicode/utf8"

	"attune/pipeline"
	"attune/pipeline/event"
	"attune/pipeline/profile"
	"attune/pipeline/rule"
	"attune/stages/trigger/recommend"
)

// Why a campaign was suppressed.
const (
	ReasonCancelled        = "cancelled"         // the unless event came
	ReasonTooManyWaits     = "too_many_waits"    // the profile held more waits than it may
	ReasonMerged           = "merged"            // the flip that started it is not so for the whole customer
	ReasonCampaignRemoved  = "campaign_removed"  // the definitions no longer have it
	ReasonConsentUnknown   = "consent_unknown"   // the customer never said anything about email
	ReasonConsentWithdrawn = "consent_withdrawn" // the customer said no
	ReasonSegmentTooSmall  = "segment_too_small" // a segment that chooses the audience has too few members
	ReasonAudience         = "audience"          // the audience rule is false
	ReasonCap              = "cap"               // as many mails as allowed were sent
	ReasonUnreadable       = "unreadable"        // what the mail should hold can't be encoded
	ReasonTooMuchAtOnce    = "too_much_at_once"  // with the mails before it at the same record it carries more than fits
)

// channel is what the customer must have agreed to.
const channel = "email"

// judge decides the campaign at the step's clock, once.
func (st *Stage) judge(s *pipeline.Step, c *campaign, w profile.Wait) {
	if reason, detail := c.refusal(s.Profile, s.Now, w, st.small); reason != "" {
		st.suppress(s, w, reason, detail)
		return
	}
	data, err := dataOf(s.Profile, w, st.recommended(s, c))
	if err != nil {
		st.suppress(s, w, ReasonUnreadable, err.Error())
		return
	}
	d := st.decision(s, w)
	d.Outcome = pipeline.Fired
	notAfter := time.Duration(c.Send.NotAfter)
	if notAfter == 0 {
		notAfter = defaultNotAfter
	}
	mail := pipeline.Delivery{
		Decision: d.ID, Campaign: c.ID, Destination: c.Send.Destination, Template: c.Send.Template,
		From: c.Send.From, Subject: c.Send.Subject, Data: data, NotAfter: s.Now.Add(notAfter),
		Trace: w.Trace,
	}
	// The last refusal, and before the cap's place is taken. Whatever tells the arms of an experiment apart has to come after
	// it, and to order what a holdout isn't sent as if it were: what a mail carries is the customer's and the event's, the
	// same in each arm, so each loses the same customers here and what is left of them can be compared.
	if !s.Room(&mail) {
		st.suppress(s, w, ReasonTooMuchAtOnce, fmt.Sprintf("%d bytes more, at most %d together", mail.Size(), pipeline.MaxCarried))
		return
	}
	s.Decide(d)
	s.Deliver(mail)
	if c.Cap != nil {
		s.Profile.Sends = append(s.Profile.Sends, profile.Send{Decision: d.ID, Campaign: c.ID, At: s.Now})
	}
}

// refusal is the first reason against the mail; empty when there is none.
func (c *campaign) refusal(p *profile.Profile, now event.Instant, w profile.Wait, small map[string]int) (reason, detail string) {
	switch consent, said := p.Consents[channel]; {
	case !said:
		return ReasonConsentUnknown, channel
	case !consent.Granted:
		return ReasonConsentWithdrawn, channel
	}
	asked := p
	for _, id := range c.chosenBy {
		least, tooSmall := small[id]
		switch {
		case !tooSmall:
		case c.BelowMinSize != Everyone:
			return ReasonSegmentTooSmall, fmt.Sprintf("%s has fewer than %d members", id, least)
		default:
			asked = asMember(asked, id)
		}
	}
	if c.audience != nil {
		in := rule.Input{Profile: asked, Now: now, Event: rule.Trigger{Name: w.Name, Properties: w.Properties}}
		if ok, _ := c.audience.Eval(in); !ok {
			return ReasonAudience, c.audience.Text()
		}
	}
	if c.Cap != nil {
		if n := sent(p, c.ID); n >= c.Cap.Max {
			return ReasonCap, fmt.Sprintf("%d in the last 24h, at most %d", n, c.Cap.Max)
		}
	}
	return "", ""
}

// asMember is the customer as if they were in the segment.
func asMember(p *profile.Profile, id string) *profile.Profile {
	q := *p
	q.Segments = maps.Clone(p.Segments)
	if q.Segments == nil {
		q.Segments = map[string]profile.Membership{}
	}
	q.Segments[id] = profile.Membership{In: true}
	return &q
}

func (st *Stage) suppress(s *pipeline.Step, w profile.Wait, reason, detail string) {
	d := st.decision(s, w)
	d.Outcome, d.Reason, d.Detail = pipeline.Suppressed, reason, clip(detail)
	s.Decide(d)
}

// maxDetail bounds what a decision tells people, in bytes: a rule may have 8 KiB, and one record may decide about hundreds
// of waits.
const maxDetail = 512

// clip cuts a longer text before a character.
func clip(text string) string {
	if len(text) <= maxDetail {
		return text
	}
	end := maxDetail
	for !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + "…"
}

func (st *Stage) decision(s *pipeline.Step, w profile.Wait) pipeline.Decision {
	d := pipeline.Decision{ID: decisionID(s.Profile.ID, w), Campaign: w.Campaign, Key: w.Key, Cause: w.Cause}
	if c := st.campaigns[w.Campaign]; c != nil {
		d.Destination, d.Template = c.Send.Destination, c.Send.Template
	}
	return d
}

// decisionID is the same for the same log. A flip by time is worked on at whatever record came next, so there
// the position says nothing.
func decisionID(profileID string, w profile.Wait) string {
	position := w.Position
	if w.Cause == "" {
		position = 0
	}
	var b []byte
	for _, text := range []string{profileID, w.Campaign, w.Key} {
		b = binary.BigEndian.AppendUint64(b, uint64(len(text)))
		b = append(b, text...)
	}
	b = binary.BigEndian.AppendUint64(b, position)
	b = binary.BigEndian.AppendUint64(b, uint64(w.Due))
	sum := sha256.Sum256(b)
	return strings.ToLower(base32.StdEncoding.EncodeToString(sum[:]))[:26]
}

// content is what a mail's templates can read.
type content struct {
	Event struct {
		Name       string        `json:"name"`
		Properties event.Object  `json:"properties"`
		Occurred   event.Instant `json:"occurred"`
	} `json:"event"`
	Customer struct {
		CLV      json.Number             `json:"clv"`
		Alive    float64                 `json:"alive"`
		Orders   uint64                  `json:"orders"`
		Revenue  json.Number             `json:"revenue"`
		Refunds  uint64                  `json:"refunds"`
		Refunded json.Number             `json:"refunded"`
		Traits   map[string]event.Object `json:"traits"`
		Segments []string                `json:"segments"`
	} `json:"customer"`
	Campaign string `json:"campaign"`
	Key      string `json:"key"`
	// Recommendations are the products that the campaign asks for, by value.
	Recommendations []recommend.Choice `json:"recommendations,omitempty"`
}

// recommended are the products that the campaign's mail asks for.
func (st *Stage) recommended(s *pipeline.Step, c *campaign) []recommend.Choice {
	r := c.Send.Recommend
	if r == nil {
		return nil
	}
	return st.products.Choose(s.Profile, s.Now, recommend.Wish{Count: r.Count, Again: r.Bought == BoughtAgain})
}

func dataOf(p *profile.Profile, w profile.Wait, recommendations []recommend.Choice) (event.Object, error) {
	c := content{Campaign: w.Campaign, Key: w.Key, Recommendations: recommendations}
	c.Event.Name, c.Event.Properties, c.Event.Occurred = w.Name, w.Properties, w.Occurred
	if c.Event.Properties == nil {
		c.Event.Properties = event.Object("{}")
	}
	c.Customer.CLV, c.Customer.Alive = json.Number(p.Scores.CLV.String()), p.Scores.Alive
	c.Customer.Orders, c.Customer.Revenue = p.Orders.Count, json.Number(p.Orders.Revenue.String())
	c.Customer.Refunds, c.Customer.Refunded = p.Orders.Refunds, json.Number(p.Orders.Refunded.String())
	c.Customer.Traits = make(map[string]event.Object, len(p.Traits))
	for name, trait := range p.Traits {
		if string(trait.Value) != "null" {
			c.Customer.Traits[name] = trait.Value
		}
	}
	c.Customer.Segments = p.Memberships()
	data, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("content of the mail: %w", err)
	}
	return data, nil
}
