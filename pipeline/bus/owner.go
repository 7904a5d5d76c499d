package bus

import "context"

// Owner shares topics out between processes that read the same. It brings peace, not safety: two that both
// believe to own a topic are told apart by what they commit. It is safe for concurrent use.
type Owner interface {
	// Own waits until the topic is this process's. Held ends, with its cause, when the topic must be let go; once
	// that is done, or the reader has ended otherwise, it calls release, which ends held too. The error is ctx's, or
	// that of a topic which is nobody's.
	Own(ctx context.Context, topic string) (held context.Context, release func(), err error)
}

// Own asks the owner; without one a topic is always this process's.
func Own(ctx context.Context, owner Owner, topic string) (held context.Context, release func(), err error) {
	if owner == nil {
		return ctx, func() {}, nil
	}
	return owner.Own(ctx, topic)
}
