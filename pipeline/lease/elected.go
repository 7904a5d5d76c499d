package lease

import (
	"context"

	"attune/pipeline/bus"
)

// Elected runs a job in the one worker that owns a topic, again whenever the worker comes to own it, until ctx ends. The job
// goes on until its context ends, and then returns soon: nobody else gets the topic before. One that returns earlier is run
// again, so it must not return at once. That two never run at a time is not promised: the new owner takes the topic from
// one that does not let go, and only what a job stores can tell the two apart.
func Elected(ctx context.Context, owner bus.Owner, topic string, job func(held context.Context)) error {
	for ctx.Err() == nil { // which Own does not look at where the topic is granted
		held, release, err := owner.Own(ctx, topic)
		if err != nil {
			if ctx.Err() != nil {
				break
			}
			return err
		}
		job(held)
		release()
	}
	return nil
}
