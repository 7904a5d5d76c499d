package pipeline

import (
	"context"

	"attune/pipeline/bus"
	"attune/pipeline/event"
)

// SourceSession is the session of a chain that appends to the log: besides confirming its outputs it numbers
// them, so that the log's reader applies each once. The batch of a session is the source's batch.
type SourceSession struct {
	*bus.WaveSession
	numbering
}

// numbering gives the records of one source their marks.
type numbering struct {
	name string
	last map[int]event.Source // by target partition, within the batch
}

// NewSourceSession names a source by its stream, that stream's generation and the partition, such as raw.ly2k1.3:
// ordinals of a stream that was made anew begin again.
func NewSourceSession(name string, wave *bus.Wave) *SourceSession {
	return &SourceSession{WaveSession: bus.NewWaveSession(wave), numbering: numbering{name, map[int]event.Source{}}}
}

// Source numbers the next record to a partition. Ordinals rise within the source; asking twice for the same
// one, after a Nack, gives the same answer.
func (s *numbering) Source(partition int, ordinal uint64) event.Source {
	before := s.last[partition]
	if before.Ordinal == ordinal {
		return before
	}
	now := event.Source{Name: s.name, Ordinal: ordinal, After: before.Ordinal}
	s.last[partition] = now
	return now
}

// Commit waits for the outputs' confirmations, acknowledges the input and begins the source's next batch.
func (s *SourceSession) Commit(ctx context.Context, last uint64, ack func() error) error {
	if err := s.WaveSession.Commit(ctx, last, ack); err != nil {
		return err
	}
	clear(s.last)
	return nil
}
