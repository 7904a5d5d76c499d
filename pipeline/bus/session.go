package bus

import "context"

// Session is one owner's hold on one topic, from claim to loss. The subscriber drives it from a single
// goroutine: Begin with the messages at hand, then each of them through the handler, then Commit; Cut may
// split the batch before a message. Any error ends the session: it is closed, and the topic claimed anew.
type Session interface {
	// Start is the stream sequence to read on from; 0: after what was last acknowledged.
	Start() uint64
	// Begin is called with the deliveries that will be handed over next, in order: the place to decode and prefetch.
	// It returns a value for each, which its handler gets by From.
	Begin(ctx context.Context, batch []Delivery) ([]any, error)
	// Cut tells whether what was handed over so far must be committed before the given value is.
	Cut(next any) bool
	// Commit makes durable what the handled messages did, the last of them at the given sequence, and calls ack
	// after that, at once or later from another goroutine.
	Commit(ctx context.Context, last uint64, ack func() error) error
	// Err is what ended the session; nil: it goes on. It is asked after a Nack, which then hands the message over
	// again, and every now and then while no message comes.
	Err() error
	// Close waits for what is under way and lets go of the topic.
	Close()
}

// Idler is implemented by sessions that have something to do every now and then while no message comes.
type Idler interface {
	Idle(ctx context.Context) error
}

// Keeper is implemented by sessions that come back to messages which they have acknowledged: a Subscriber that deletes spares
// them, and leaves it to the session to delete what it is done with behind them.
type Keeper interface {
	// Kept is the lowest sequence of these messages; 0: there are none.
	Kept() uint64
}

// Opener claims a topic.
type Opener func(ctx context.Context, topic string) (Session, error)

// HandOver is what a message's context carries beside the Watermill message: one delivery, or as many as there
// are where the subscriber hands over whole batches.
type HandOver struct {
	Batch   []Delivery
	Values  []any // what the session's Begin made of each
	Session Session
	// Done is how many of the batch are handled: Each counts them. What a handler leaves comes again after a commit;
	// a batch that was refused comes again from its beginning, also what was handled already.
	Done int
}

// Delivery is the only one, where messages are handed over one by one.
func (h *HandOver) Delivery() Delivery { return h.Batch[0] }

// Value is what the session's Begin made of it.
func (h *HandOver) Value() any { return h.Values[0] }

// Each hands the deliveries, until one fails or the session asks for a commit before it. Middleware that has the handler try
// again gets it all again: what a failed attempt returned is lost.
func (h *HandOver) Each(handle func(d Delivery, value any) error) error {
	for h.Done = 0; h.Done < len(h.Batch); h.Done++ {
		if h.Done > 0 && h.Session.Cut(h.Values[h.Done]) {
			return nil
		}
		if err := handle(h.Batch[h.Done], h.Values[h.Done]); err != nil {
			return err
		}
	}
	return nil
}

// From returns what the subscriber handed over with a message's context; nil for a message that did not come
// from a Subscriber. A message that a handler produces should carry the context of the one that led to it:
// the publisher then adds it to that session's wave.
func From(ctx context.Context) *HandOver {
	h, _ := ctx.Value(handOverKey).(*HandOver)
	return h
}

// Waves is implemented by sessions that confirm what was published while they held their topic.
type Waves interface {
	Wave() *Wave
}

// WaveSession is the session of a stateless chain: its outputs are confirmed before its input is acknowledged.
type WaveSession struct{ wave *Wave }

// NewWaveSession wraps a wave, which the session closes.
func NewWaveSession(wave *Wave) *WaveSession { return &WaveSession{wave: wave} }

// Wave is where the publisher adds this session's outputs.
func (s *WaveSession) Wave() *Wave { return s.wave }

// Start is 0: on from what was last acknowledged.
func (s *WaveSession) Start() uint64 { return 0 }

// Begin has nothing to prefetch.
func (s *WaveSession) Begin(_ context.Context, batch []Delivery) ([]any, error) {
	return make([]any, len(batch)), nil
}

// Cut never asks for one.
func (s *WaveSession) Cut(any) bool { return false }

// Commit waits for the outputs' confirmations, then acknowledges.
func (s *WaveSession) Commit(ctx context.Context, _ uint64, ack func() error) error {
	if _, err := s.wave.Wait(ctx); err != nil {
		return err
	}
	return ack()
}

// Err never ends the session: a stateless handler may try again.
func (s *WaveSession) Err() error { return nil }

// Close ends the wave.
func (s *WaveSession) Close() { s.wave.Close() }
