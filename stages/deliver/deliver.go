package deliver

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/cenkalti/backoff/v4"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"attune/pipeline"
	"attune/pipeline/bus"
	"attune/pipeline/event"
	"attune/pipeline/topology"
	"attune/pipeline/vault"
	"attune/stages/deliver/template"
)

// Sender speaks a destination's protocol. Send returns when the destination has answered; its error says what
// to do: pipeline.Refused is a bounce, pipeline.Unknown an end that nobody saw, anything else is worth another
// attempt, a pipeline.Delayed no earlier than it says. Neither errors nor receipts hold a personal field: they
// are stored and logged. It is safe for concurrent use; who made it closes it.
type Sender interface {
	Send(ctx context.Context, mail pipeline.Mail) (pipeline.Receipt, error)
}

// Templates finds the templates of definitions by their hash. It is safe for concurrent use. A pipeline.Parked
// error means that there is no such template and the delivery is dropped; any other means try again.
type Templates interface {
	Template(ctx context.Context, definitions, name string) (Template, error)
}

// Template is a mail's content.
type Template struct {
	HTML *template.Template
	Text *template.Template // the plain alternative; nil: none
}

// Vault reads personal fields. One goroutine uses it.
type Vault interface {
	Get(ctx context.Context, profile string) (vault.Entry, error)
}

// AfterCrash is what happens to an attempt whose end nobody saw.
type AfterCrash string

// Hold sends nothing more and records the outcome as unknown; Resend tries again with the same Message-ID.
const (
	Hold   AfterCrash = "hold"
	Resend AfterCrash = "resend"
)

// Config is what one destination's deliveries need.
type Config struct {
	JetStream   jetstream.JetStream
	Destination string
	Sender      Sender
	Templates   Templates
	Vault       Vault
	AfterCrash  AfterCrash // default Hold
	// Concurrency is the number of mails sent at the same time. Default 4.
	Concurrency int
	// Pause is how long to wait after the given attempt (1, 2, …) has failed for the moment. Default: growing from
	// about one second to about five minutes.
	Pause   func(attempt int) time.Duration
	Now     func() time.Time // default time.Now
	Metrics *Metrics         // may be shared between destinations; nil: none
	Log     *slog.Logger     // nil: none

	faults faults // tests only
}

// A delivery is tried up to attemptsInPlace times with pauses of up to pauseInPlace between them; then it waits, and those
// behind it in the queue come first.
const (
	attemptsInPlace = 3
	pauseInPlace    = 3 * time.Second
)

// Stage delivers to one destination.
type Stage struct {
	config  Config
	records records
	reading sync.Mutex // of the vault
}

// New prepares the deliveries to one destination.
func New(ctx context.Context, config Config) (*Stage, error) {
	bucket, err := config.JetStream.KeyValue(ctx, topology.Deliveries)
	if err != nil {
		return nil, fmt.Errorf("deliver: open bucket %s: %w", topology.Deliveries, err)
	}
	if config.AfterCrash == "" {
		config.AfterCrash = Hold
	}
	if config.Concurrency == 0 {
		config.Concurrency = 4
	}
	if config.Pause == nil {
		config.Pause = pause
	}
	if config.Now == nil {
		config.Now = time.Now
	}
	if config.Metrics == nil {
		if config.Metrics, err = NewMetrics(nil); err != nil {
			return nil, err
		}
	}
	if config.Log == nil {
		config.Log = slog.New(slog.DiscardHandler)
	}
	return &Stage{config: config, records: records{config.JetStream.Conn(), bucket}}, nil
}

// Topic is where this destination's deliveries are read.
func (s *Stage) Topic() string { return topology.Subject(topology.Outbox, s.config.Destination) }

// Subscriber reads the destination's deliveries.
func (s *Stage) Subscriber() *bus.Subscriber {
	return bus.NewSubscriber(s.config.JetStream, bus.SubscriberConfig{
		Stream: topology.Outbox, Reader: pipeline.ReaderDeliver, Open: s.open, Batch: batchSize, Delete: true, Log: s.config.Log,
	})
}

// Handle waits for the end of one delivery: the Router's handler.
func (s *Stage) Handle(m *message.Message) ([]*message.Message, error) {
	h := bus.From(m.Context())
	if h == nil {
		return nil, fmt.Errorf("deliver: message %s did not come from its subscriber", m.UUID)
	}
	o, ok := h.Session.(*session)
	if !ok {
		return nil, fmt.Errorf("deliver: message %s came with a foreign session", m.UUID)
	}
	a := h.Value().(*assignment)
	if a.unusable != nil {
		return s.park(m, h.Delivery(), a.unusable)
	}
	if a.done != nil || !a.waits { // what was begun is looked at only when it is over
		if err := o.finish(m.Context(), a); err != nil {
			return nil, err
		}
	}
	if a.waits {
		o.wait(h.Delivery().Sequence, a)
		return nil, nil
	}
	payload, err := a.feedback()
	if err != nil || payload == nil {
		return nil, err
	}
	end := pipeline.Produce(m, a.feedbackSubject(), payload)
	if a.delivery.Trace != "" {
		end.Metadata[event.HeaderTrace] = a.delivery.Trace
	}
	return []*message.Message{end}, nil
}

// prepared is a mail ready to be sent, or the reason why it is not to be.
type prepared struct {
	mail   pipeline.Mail
	reason string
	entry  vault.Entry
}

// prepare fills in the personal fields and renders.
func (s *Stage) prepare(ctx context.Context, d *pipeline.Delivery) (p prepared, err error) {
	drop := func(reason string) (prepared, error) { return prepared{reason: reason}, nil }
	if d.NotAfter != 0 && event.At(s.config.Now()) > d.NotAfter {
		return drop("late")
	}
	s.reading.Lock()
	p.entry, err = s.config.Vault.Get(ctx, d.Profile)
	s.reading.Unlock()
	if err != nil {
		return p, err
	}
	var address string
	if json.Unmarshal(p.entry.Fields["email"].Value, &address) != nil || address == "" {
		return drop("no_address")
	}
	content, err := s.config.Templates.Template(ctx, d.Definitions, d.Template)
	if _, none := pipeline.IsParked(err); none {
		s.config.Log.Error("delivery has no template", "decision", d.Decision, "campaign", d.Campaign, "template", d.Template, "error", err)
		return drop("no_template")
	}
	if err != nil {
		return p, fmt.Errorf("delivery %s: %w", d.Decision, err)
	}
	data, err := d.Data.Map()
	if err != nil {
		return drop("unreadable_data")
	}
	personalize(data, p.entry)
	p.mail = pipeline.Mail{ID: d.Decision, From: d.From, To: address, Until: d.NotAfter.Time()}
	if err := s.render(&p.mail, d.Subject, content, data); err != nil {
		s.config.Log.Error("delivery can't be rendered", "decision", d.Decision, "campaign", d.Campaign, "template", d.Template,
			"error", discreet(err.Error(), p.entry))
		return drop("render_failed")
	}
	return p, nil
}

func (s *Stage) render(mail *pipeline.Mail, subject string, content Template, data map[string]any) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = s.panicked(mail.ID)
		}
	}()
	line, err := template.Parse("subject", subject)
	if err != nil {
		return err
	}
	if mail.Subject, err = line.RenderText(data); err != nil {
		return err
	}
	if mail.HTML, err = content.HTML.Render(data); err != nil || content.Text == nil {
		return err
	}
	mail.Text, err = content.Text.RenderPlain(data)
	return err
}

// personalize adds the customer's personal fields from the vault to what the template sees as customer.
func personalize(data map[string]any, entry vault.Entry) {
	customer, ok := data["customer"].(map[string]any)
	if !ok {
		customer = map[string]any{}
		data["customer"] = customer
	}
	for name, field := range entry.Fields {
		var value any
		if json.Unmarshal(field.Value, &value) == nil {
			customer[name] = value
		}
	}
}

// feedback is what RAW is told of the end; its message id makes a repeat known there. Empty: the relay has stated this end.
func (a *assignment) feedback() ([]byte, error) {
	d, record := &a.delivery, &a.record
	if record.Reason == pipeline.QueueFull {
		return nil, nil
	}
	return json.Marshal(map[string]any{
		"type": event.Delivery, "event": "Delivery", "messageId": "delivery-" + d.Decision, "profileId": d.Profile,
		"timestamp": event.At(record.At),
		"properties": map[string]any{
			"decision": d.Decision, "campaign": d.Campaign, "destination": d.Destination, "template": d.Template,
			"outcome": record.State, "reason": record.Reason, "response": record.Response, "attempt": record.Attempt,
		},
	})
}

func (a *assignment) feedbackSubject() string {
	return topology.IngestSubject + "." + a.delivery.Profile
}

func (s *Stage) park(m *message.Message, d bus.Delivery, err error) ([]*message.Message, error) {
	letter := pipeline.DeadLetter{Reason: "undecodable", Error: err.Error(), Payload: d.Data, Subject: d.Subject, Position: d.Sequence}
	letter.Fit(s.config.JetStream.Conn().MaxPayload())
	out, err := letter.Message(m, pipeline.ReaderDeliver)
	if err != nil {
		return nil, err
	}
	return []*message.Message{out}, nil
}

// pause grows from about one second to about five minutes.
func pause(attempt int) time.Duration {
	b := backoff.NewExponentialBackOff(backoff.WithInitialInterval(time.Second), backoff.WithMultiplier(2), backoff.WithMaxInterval(5*time.Minute), backoff.WithMaxElapsedTime(0))
	d := b.NextBackOff()
	for range min(attempt-1, 12) {
		d = b.NextBackOff()
	}
	return d
}

// Metrics of deliveries.
type Metrics struct{ outcomes *prometheus.CounterVec }

// NewMetrics registers them; r may be nil.
func NewMetrics(r prometheus.Registerer) (*Metrics, error) {
	m := &Metrics{outcomes: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "attune_deliveries_total", Help: "Deliveries that ended, by destination, outcome and reason.",
	}, []string{"destination", "outcome", "reason"})}
	if r == nil {
		return m, nil
	}
	if err := r.Register(m.outcomes); err != nil {
		return nil, fmt.Errorf("deliver: register metrics: %w", err)
	}
	return m, nil
}
