package pipeline

import (
	"context"
	"fmt"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/nats-io/nats.go/jetstream"

	"attune/pipeline/bus"
	"attune/pipeline/event"
	"attune/pipeline/topology"
)

// leaving brings what one partition's commits have for other profiles into their logs, as a source of its own: merge
// records, transfers and forwards, in the order in which they left.
type leaving struct {
	numbering
	partitions int
}

func newLeaving(ctx context.Context, js jetstream.JetStream, commits *jetstream.StreamInfo, partition int) (leaving, error) {
	ctx, cancel := context.WithTimeout(ctx, bus.Patience)
	defer cancel()
	partitions, err := topology.Partitions(ctx, js)
	if err != nil {
		return leaving{}, err
	}
	name := fmt.Sprintf("merge.%s.%d", topology.Generation(commits), partition)
	return leaving{numbering{name, map[int]event.Source{}}, partitions}, nil
}

// message is a record on its way into the log of its profile.
func (l *leaving) message(cause *message.Message, record []byte, ordinal uint64) (*message.Message, error) {
	e, err := event.Decode(record)
	if err != nil {
		return nil, err
	}
	partition := topology.Partition(e.Profile, l.partitions)
	e.Source = l.Source(partition, ordinal)
	payload, err := e.Encode()
	if err != nil {
		return nil, err
	}
	return Produce(cause, topology.Subject(topology.Events, partition), payload), nil
}
