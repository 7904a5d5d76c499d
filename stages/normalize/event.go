package normalize

import (
	"bytes"

	"attune/pipeline/event"
	"attune/pipeline/vault"
)

// event fills in what goes on of a call's objects, and collects what belongs into the vault.
func (s *separator) event(e *event.Event, c *call, fields map[string]vault.Field) {
	if e.Type == event.Delivery {
		s = s.own
	}
	e.Properties = s.split(c.Properties, false, c.Occurred, fields, "properties.")
	traits := c.Traits
	if nested, ok := c.around.traits.Object(); ok && traits == nil {
		traits = nested // how track calls say who the customer is
	}
	e.Traits = s.split(traits, true, c.Occurred, fields, "")
	e.Context = s.split(c.around.kept(), false, c.Occurred, fields, "context.")
}

// surroundings are the parts of a call's context that matter.
type surroundings struct {
	traits, campaign, locale, timezone, path, preferences event.Value
}

// surround finds them, by the names that Object.Get would find them by.
func surround(context event.Object) (s surroundings) {
	var page, consent event.Value
	context.Visit(func(name []byte, v event.Value) {
		switch string(name) {
		case "traits":
			s.traits = v
		case "campaign":
			s.campaign = v
		case "locale":
			s.locale = v
		case "timezone":
			s.timezone = v
		case "page":
			page = v
		case "page.path":
			s.path = v
		case "consent":
			consent = v
		case "consent.categoryPreferences":
			s.preferences = v
		}
	})
	if o, ok := page.Object(); ok && !s.path.Present() {
		s.path = o.Get("path")
	}
	if o, ok := consent.Object(); ok && !s.preferences.Present() {
		s.preferences = o.Get("categoryPreferences")
	}
	return s
}

// kept is what may go on of a context.
func (s *surroundings) kept() event.Object {
	var b bytes.Buffer
	field := func(name string, value []byte) {
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		b.WriteString(`"` + name + `":`)
		b.Write(value)
	}
	if campaign, ok := s.campaign.Object(); ok {
		field("campaign", campaign)
	}
	if isText(s.locale) {
		field("locale", s.locale.Raw())
	}
	if isText(s.timezone) {
		field("timezone", s.timezone.Raw())
	}
	if isText(s.path) {
		field("page", []byte(`{"path":`+string(s.path.Raw())+`}`))
	}
	if b.Len() == 0 {
		return nil
	}
	return event.Object("{" + b.String() + "}")
}

func isText(v event.Value) bool {
	raw := v.Raw()
	return len(raw) > 0 && raw[0] == '"'
}

// consent is what a call says about it: Segment's consent preferences, or the Subscribed and Unsubscribed
// events with their properties.channel (email where it is not given).
func consent(c *call) map[string]bool {
	var said map[string]bool
	say := func(channel string, granted bool) {
		if said == nil {
			said = map[string]bool{}
		}
		said[channel] = granted
	}
	if preferences, ok := c.around.preferences.Object(); ok {
		preferences.Fields(func(channel string, v event.Value) bool {
			if granted, ok := v.Bool(); ok {
				say(channel, granted)
			}
			return true
		})
	}
	if c.Type == event.Track && (c.Name == event.Subscribed || c.Name == event.Unsubscribed) {
		channel, _ := c.Properties.Get("channel").Text()
		if channel == "" {
			channel = "email"
		}
		say(channel, c.Name == event.Subscribed)
	}
	return said
}
