package normalize

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"attune/pipeline"
	"attune/pipeline/event"
)

// Reasons for which a call is parked.
const (
	ReasonInvalidJSON = "invalid_json"
	ReasonUnknownType = "unknown_type"
	ReasonNoIdentity  = "no_identity"
	ReasonNoEvent     = "no_event"
	ReasonBadTime     = "bad_timestamp"
	ReasonNoID        = "no_message_id"
	ReasonTooLarge    = "too_large"
	ReasonReusedID    = "reused_message_id"
)

// maxDepth bounds the nesting of arrays and objects in a call, as ingest does.
const maxDepth = 512

// call is a producer's call, read as far as normalizing needs.
type call struct {
	ID        string
	Type      event.Type
	Name      string
	User      string
	Anonymous string
	Previous  string // alias only: the id that User was known by
	Profile   string // deliveries' ends only: they know their profile
	Occurred  event.Instant
	Accepted  event.Instant
	ahead     time.Duration // how far after Accepted it claims to have occurred

	Historical bool
	// Fingerprint tells whether another call with the same id is the same call.
	Fingerprint uint64
	Properties  event.Object
	Traits      event.Object
	Context     event.Object
	around      surroundings // what matters of the context
}

// wire is Segment's shape. Field names are matched exactly, as ingest and Segment do.
type wire struct {
	kind, messageID                          event.Value
	userID, anonymousID, previousID, groupID event.Value
	profileID                                event.Value // Attune's own calls
	event, name                              event.Value
	timestamp, originalTimestamp, sentAt     event.Value
	properties, traits, context              event.Value
}

// read takes a payload apart; of two fields with the same name the last counts.
func read(payload []byte) (w wire, err error) {
	o, err := event.ParseObject(payload)
	if err == nil && o == nil {
		err = errors.New("want a JSON object, got nothing")
	}
	if err == nil && deeper(o, maxDepth) {
		err = fmt.Errorf("nested deeper than %d", maxDepth)
	}
	if err != nil {
		return w, err
	}
	into := func(name []byte) *event.Value {
		switch string(name) {
		case "type":
			return &w.kind
		case "messageId":
			return &w.messageID
		case "userId":
			return &w.userID
		case "anonymousId":
			return &w.anonymousID
		case "previousId":
			return &w.previousID
		case "groupId":
			return &w.groupID
		case "profileId":
			return &w.profileID
		case "event":
			return &w.event
		case "name":
			return &w.name
		case "timestamp":
			return &w.timestamp
		case "originalTimestamp":
			return &w.originalTimestamp
		case "sentAt":
			return &w.sentAt
		case "properties":
			return &w.properties
		case "traits":
			return &w.traits
		case "context":
			return &w.context
		}
		return nil
	}
	o.Visit(func(name []byte, v event.Value) {
		if f := into(name); f != nil {
			*f = v
		}
	})
	return w, nil
}

// deeper tells whether valid JSON nests arrays and objects more than limit deep.
func deeper(text []byte, limit int) bool {
	if bytes.Count(text, []byte{'{'})+bytes.Count(text, []byte{'['}) <= limit {
		return false
	}
	depth, quoted := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\\':
			i++ // only strings hold it
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			if depth++; depth > limit {
				return true
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return false
}

// parse reads and validates one call. Its error is a *pipeline.Parked with the reason.
func parse(raw event.Raw) (call, error) {
	w, err := read(raw.Payload)
	if err != nil {
		return call{}, pipeline.Park(ReasonInvalidJSON, fmt.Errorf("the call is no JSON object in Segment's shape: %w", err))
	}
	c := call{Accepted: event.At(raw.Accepted), Historical: raw.Historical}
	for _, id := range []struct {
		into   *string
		from   event.Value
		field  string
		reason string
	}{
		{&c.ID, w.messageID, "messageId", ReasonNoID},
		{&c.User, w.userID, "userId", ReasonNoIdentity},
		{&c.Anonymous, w.anonymousID, "anonymousId", ReasonNoIdentity},
	} {
		if *id.into, err = identifier(id.field, id.from); err != nil {
			return call{}, pipeline.Park(id.reason, err)
		}
	}
	for _, id := range []*string{&c.User, &c.Anonymous} {
		if nobody(*id) {
			*id = ""
		}
	}
	if err := c.kind(&w); err != nil {
		return call{}, err
	}
	if c.ID == "" {
		return call{}, pipeline.Park(ReasonNoID, errors.New("messageId is missing: without it a repeat can't be told from news; ingest adds one, a direct publisher must"))
	}
	if c.User == "" && c.Anonymous == "" && c.Type != event.Delivery {
		return call{}, pipeline.Park(ReasonNoIdentity, errors.New("neither userId nor anonymousId is given, or only such as null, 0 and undefined, which are nobody's"))
	}
	for _, o := range []struct {
		into  *event.Object
		from  event.Value
		field string
	}{{&c.Properties, w.properties, "properties"}, {&c.Traits, w.traits, "traits"}, {&c.Context, w.context, "context"}} {
		if o.from.Null() {
			continue
		}
		object, ok := o.from.Object()
		if !ok {
			return call{}, pipeline.Park(ReasonInvalidJSON, fmt.Errorf("%s is not a JSON object", o.field))
		}
		*o.into = object
	}
	c.around = surround(c.Context)
	c.Fingerprint = w.fingerprint()
	return c, c.time(&w, raw)
}

// kind checks the type and finds what the call is called.
func (c *call) kind(w *wire) error {
	kind, _ := w.kind.Text()
	c.Type = event.Type(kind)
	name, _ := w.name.Text()
	happened, _ := w.event.Text()
	var err error
	switch c.Type {
	case event.Track:
		if c.Name = strings.TrimSpace(happened); c.Name == "" {
			return pipeline.Park(ReasonNoEvent, errors.New("a track call needs event, the event's name"))
		}
	case event.Page, event.Screen:
		c.Name = name
	case event.Group:
		if c.Name, err = identifier("groupId", w.groupID); err == nil && c.Name == "" {
			err = errors.New("a group call needs a groupId")
		}
		if err != nil {
			return pipeline.Park(ReasonNoEvent, err)
		}
	case event.Identify:
	case event.Alias:
		if c.Previous, err = identifier("previousId", w.previousID); err == nil && (c.Previous == "" || c.User == "" || nobody(c.Previous)) {
			err = errors.New("an alias call needs previousId and userId")
		}
		if err != nil {
			return pipeline.Park(ReasonNoIdentity, err)
		}
	case event.Delivery:
		c.Name = happened
		if c.Profile, _ = w.profileID.Text(); !isProfile(c.Profile) {
			return pipeline.Park(ReasonNoIdentity, fmt.Errorf("a delivery's end needs the profileId of its delivery, got %q", short(c.Profile)))
		}
	default:
		return pipeline.Park(ReasonUnknownType, fmt.Errorf("type %q: want track, identify, page, screen, group or alias", short(kind)))
	}
	return nil
}

// time finds when it occurred, by the rule in the package comment.
func (c *call) time(w *wire, raw event.Raw) error {
	field, value := "originalTimestamp", w.originalTimestamp
	if value.Null() || value.Is("") {
		field, value = "timestamp", w.timestamp
	}
	said, err := instant(field, value)
	if err != nil {
		return pipeline.Park(ReasonBadTime, err)
	}
	if value.Null() || value.Is("") {
		c.Occurred = c.Accepted
		return nil
	}
	sent := raw.SentAt
	if sent.IsZero() {
		if sent, err = instant("sentAt", w.sentAt); err != nil {
			return pipeline.Park(ReasonBadTime, err)
		}
	}
	c.Occurred = event.Instant(said.UnixMilli())
	if !sent.IsZero() {
		c.Occurred = c.Accepted - event.Instant(sent.UnixMilli()-said.UnixMilli())
	}
	if c.Occurred > c.Accepted {
		c.ahead = time.Duration(min(int64(c.Occurred-c.Accepted), math.MaxInt64/int64(time.Millisecond))) * time.Millisecond
		c.Occurred = c.Accepted
	}
	if c.Occurred <= 0 {
		return pipeline.Park(ReasonBadTime, fmt.Errorf("%s %q is before 1970", field, short(value.String())))
	}
	return nil
}

// bound applies the installation's bounds: what is too far ahead is parked, and what is too late is historical. What
// Attune itself says of a delivery has none.
func (c *call) bound(s Settings) error {
	if c.Type == event.Delivery {
		return nil
	}
	if s.MaxFuture > 0 && c.ahead > s.MaxFuture {
		return pipeline.Park(ReasonBadTime, fmt.Errorf("it is said to occur %s after it was accepted, more than normalize.max_future (%s): is it the time of what happened?", c.ahead, s.MaxFuture))
	}
	if s.MaxLate > 0 && c.Occurred < c.Accepted.Add(-s.MaxLate) {
		c.Historical = true
	}
	return nil
}

// instant reads a moment; an absent, null or empty one is the zero time.
func instant(field string, v event.Value) (time.Time, error) {
	if v.Null() || v.Is("") {
		return time.Time{}, nil
	}
	s, ok := v.Text()
	t, err := time.Parse(time.RFC3339Nano, s)
	if !ok || err != nil {
		return time.Time{}, fmt.Errorf("%s %q: want RFC 3339 such as 2026-05-01T12:00:00Z", field, short(v.String()))
	}
	return t, nil
}

// identifier reads an id, which should be a string; some producers send a number, which counts as it is written.
func identifier(field string, v event.Value) (string, error) {
	if v.Null() {
		return "", nil
	}
	if s, ok := v.Text(); ok {
		return strings.TrimSpace(s), nil
	}
	if _, ok := v.Number(); ok {
		return v.String(), nil
	}
	return "", fmt.Errorf("%s is neither a string nor a number", field)
}

// isProfile tells whether text can be a profile's id: it names keys and subjects.
func isProfile(s string) bool {
	for _, r := range s {
		if (r < 'a' || r > 'z') && (r < '0' || r > '9') {
			return false
		}
	}
	return s != "" && len(s) <= 64
}

// short keeps what a producer wrote from filling an error.
func short(s string) string {
	const most = 100
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
