package shop

import "time"

// call is one call of Segment's API, in its own spelling.
type call struct {
	Type        string         `json:"type"`
	MessageID   string         `json:"messageId"`
	Timestamp   time.Time      `json:"timestamp"`
	AnonymousID string         `json:"anonymousId"`
	UserID      string         `json:"userId,omitempty"`
	Event       string         `json:"event,omitempty"`
	Name        string         `json:"name,omitempty"`
	Properties  map[string]any `json:"properties,omitempty"`
	Traits      *traits        `json:"traits,omitempty"`
	Context     callContext    `json:"context"`
}

// traits are what a customer tells the shop at signing up.
type traits struct {
	FirstName string `json:"first_name"`
	LastName  string `json:"last_name"`
	Email     string `json:"email"`
	Plan      string `json:"plan"`
}

type callContext struct {
	Library   library  `json:"library"`
	Locale    string   `json:"locale"`
	Timezone  string   `json:"timezone"`
	IP        string   `json:"ip"`
	UserAgent string   `json:"userAgent"`
	Page      *page    `json:"page,omitempty"`
	Consent   *consent `json:"consent,omitempty"`
}

type library struct {
	Name string `json:"name"`
}

type page struct {
	Path string `json:"path"`
}

// consent is what the customer said about each channel in this call; a channel that is missing was not spoken of.
type consent struct {
	CategoryPreferences map[string]bool `json:"categoryPreferences"`
}

// line is one product of a cart or an order.
type line struct {
	product
	Quantity int `json:"quantity"`
}

// total is what the lines cost together. Delivery is free.
func total(lines []line) cents {
	var sum cents
	for _, l := range lines {
		sum += l.Price * cents(l.Quantity)
	}
	return sum
}
