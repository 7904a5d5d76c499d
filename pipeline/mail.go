package pipeline

import "time"

// Mail is one rendered message, ready for a destination that speaks some delivery protocol.
type Mail struct {
	ID      string            // the decision id: the idempotency key where the provider takes one
	From    string            // RFC 5322 address, with or without a name
	To      string            // RFC 5322 address
	Subject string            // one line, unencoded
	HTML    string            // the body; never empty
	Text    string            // the plain alternative; may be empty
	Headers map[string]string // further headers, unencoded
	Until   time.Time         // do not send after this instant; zero: no limit
}

// Receipt is what a destination said when it took a mail.
type Receipt struct {
	Provider string // the sink that sent it: "smtp"
	Response string // the provider's own words or id, for support cases; holds no personal field
}
