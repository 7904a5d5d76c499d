package trigger

import "time"

// Campaign is one campaign as the workspace defines it.
type Campaign struct {
	// ID names the campaign in decisions and reports: lower-case letters, digits and hyphens, at
	// most 63, not beginning with a hyphen.
	ID string `yaml:"id" json:"id"`
	On On     `yaml:"on" json:"on"`
	// Key is the path of an event property that tells occasions apart, such as cart_id. On events only.
	Key string `yaml:"key" json:"key,omitempty"`
	// Wait is the time from the trigger to the decision, 0 (at once) to 400d.
	Wait   Duration `yaml:"wait" json:"wait,omitzero"`
	Unless *Unless  `yaml:"unless" json:"unless,omitempty"`
	// Audience is a rule about the customer; empty: everyone.
	Audience string `yaml:"audience" json:"audience,omitempty"`
	// BelowMinSize is what happens while a segment that chooses the audience has fewer members than its min_size: skip
	// (default): nobody gets the mail; everyone: as if each customer were in that segment.
	BelowMinSize string `yaml:"below_min_size" json:"below_min_size,omitempty"`
	Cap          *Cap   `yaml:"cap" json:"cap,omitempty"`
	Send         Send   `yaml:"send" json:"send"`
}

// On is what triggers a campaign: exactly one of Event, SegmentEntered and SegmentExited.
type On struct {
	// Event is a track event's name, or page:NAME or screen:NAME.
	Event string `yaml:"event" json:"event,omitempty"`
	// Where is a rule about the event alone; empty: each one.
	Where          string `yaml:"where" json:"where,omitempty"`
	SegmentEntered string `yaml:"segment_entered" json:"segment_entered,omitempty"`
	SegmentExited  string `yaml:"segment_exited" json:"segment_exited,omitempty"`
}

// Unless is what cancels a wait.
type Unless struct {
	Event string `yaml:"event" json:"event"`
}

// Cap bounds how often a campaign reaches one customer.
type Cap struct {
	Per string `yaml:"per" json:"per"` // "day": any 24 hours
	Max int    `yaml:"max" json:"max"` // 1 to MaxCap
}

// Send is the mail of a campaign.
type Send struct {
	Destination string `yaml:"destination" json:"destination"`
	From        string `yaml:"from" json:"from"`       // RFC 5322 address, with or without a name
	Subject     string `yaml:"subject" json:"subject"` // one line; a template
	Template    string `yaml:"template" json:"template"`
	// NotAfter is how old the decision may be when the mail is sent: up to 30d, by default (0) 24h.
	NotAfter Duration `yaml:"not_after" json:"not_after,omitzero"`
	// Recommend asks for products, which the templates find in recommendations; missing: there are none.
	Recommend *Recommend `yaml:"recommend" json:"recommend,omitempty"`
}

// Recommend is the block of recommended products in a mail. What is out of stock (attune stock) and what lies in the cart is
// not among them.
type Recommend struct {
	// Count is how many products at most, 1 to 20.
	Count int `yaml:"count" json:"count"`
	// Bought says what becomes of products that the customer bought: skip (the default) or again.
	Bought string `yaml:"bought" json:"bought,omitempty"`
}

// The words of Recommend.Bought.
const (
	BoughtSkip  = "skip"
	BoughtAgain = "again"
)

// What BelowMinSize may be.
const (
	Skip     = "skip"
	Everyone = "everyone"
)

// Bounds of a campaign and of what one profile holds for all of them.
const (
	MaxWait      = 400 * 24 * time.Hour
	MaxNotAfter  = 30 * 24 * time.Hour
	MaxCap       = 100
	MaxRecommend = 20        // products in a mail
	MaxWaits     = 100       // waits of one profile
	MaxWaitBytes = 128 << 10 // of the properties that they carry
)

const (
	defaultNotAfter = 24 * time.Hour
	capWindow       = 24 * time.Hour
)
