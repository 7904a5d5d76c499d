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
	if nested, ok := c.Context.Get("traits").Object(); ok && traits == nil {
		traits = nested // how track calls say who the customer is
	}
	e.Traits = s.split(traits, true, c.Occurred, fields, "")
	e.Context = s.split(keep(c.Context), false, c.Occurred, fields, "context.")
}

// keep is what may go on of a context.
func keep(context event.Object) event.Object {
	var b bytes.Buffer
	field := func(name string, value []byte) {
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		b.WriteString(`"` + name + `":`)
		b.Write(value)
	}
	if campaign, ok := context.Get("campaign").Object(); ok {
		field("campaign", campaign)
	}
	for _, name := range []string{"locale", "timezone"} {
		if v := context.Get(name); isText(v) {
			field(name, v.Raw())
		}
	}
	if v := context.Get("page.path"); isText(v) {
		field("page", []byte(`{"path":`+string(v.Raw())+`}`))
	}
	if b.Len() == 0 {
		return nil
	}
	return event.Object("{" + b.String() + "}")
}

func isText(v event.Value) bool {
	_, ok := v.Text()
	return ok
}

// consent is what a call says about it: Segment's consent preferences, or the Subscribed and Unsubscribed
// events with their properties.channel (email where it is not given).
func consent(c *call) map[string]bool {
	said := map[string]bool{}
	if preferences, ok := c.Context.Get("consent.categoryPreferences").Object(); ok {
		preferences.Fields(func(channel string, v event.Value) bool {
			if granted, ok := v.Bool(); ok {
				said[channel] = granted
			}
			return true
		})
	}
	if c.Type == event.Track && (c.Name == event.Subscribed || c.Name == event.Unsubscribed) {
		channel, _ := c.Properties.Get("channel").Text()
		if channel == "" {
			channel = "email"
		}
		said[channel] = c.Name == event.Subscribed
	}
	if len(said) == 0 {
		return nil
	}
	return said
}
