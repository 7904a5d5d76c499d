package bus

import (
	"context"
	"sync"
)

type contextKey int

const (
	handOverKey contextKey = iota
	bundleKey
)

// messageContext is a message's: it carries what was handed over, and ends when the message is settled, or its topic is lost.
// The standard library's would enter each message into the list of its topic's context, and take it out again.
type messageContext struct {
	context.Context // its topic's
	handOver        *HandOver

	mu    sync.Mutex
	done  chan struct{} // nil: nobody has asked
	ended error
}

func (c *messageContext) Value(key any) any {
	if key == handOverKey {
		return c.handOver
	}
	return c.Context.Value(key)
}

func (c *messageContext) Done() <-chan struct{} {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.done == nil {
		c.done = make(chan struct{})
		if c.ended != nil {
			close(c.done)
		}
	}
	return c.done
}

func (c *messageContext) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ended
}

// end is called once, by whoever has handed the message over; that one notices the end of its topic as well.
func (c *messageContext) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended = c.Context.Err(); c.ended == nil {
		c.ended = context.Canceled
	}
	if c.done != nil {
		close(c.done)
	}
}
