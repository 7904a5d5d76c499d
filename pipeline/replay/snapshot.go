package replay

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/fxamacker/cbor/v2"
	"github.com/nats-io/nats.go/jetstream"

	"attune/pipeline/topology"
)

// snapshotFormat is the version of the file's format.
const snapshotFormat = 1

// header begins a snapshot: gzip around CBOR values, the header, then for each partition a part and its
// profiles. It holds profiles, and as they do no personal field.
type header struct {
	Attune string `cbor:"1,keyasint"` // "snapshot"
	Format int    `cbor:"2,keyasint"`
	Log    string `cbor:"3,keyasint"` // the generation of EVENTS that it is of
}

// part begins a partition's state; so many profiles follow. The last part has the end mark.
type part struct {
	State    *State `cbor:"1,keyasint,omitempty"`
	Profiles int    `cbor:"2,keyasint,omitempty"`
	End      bool   `cbor:"3,keyasint,omitempty"`
}

// SnapshotWriter writes states into a file, partition by partition. It is for one goroutine.
type SnapshotWriter struct {
	packed *gzip.Writer
	values *cbor.Encoder
}

// NewSnapshotWriter begins a snapshot; the writer stays the caller's.
func NewSnapshotWriter(ctx context.Context, js jetstream.JetStream, w io.Writer) (*SnapshotWriter, error) {
	log, err := generation(ctx, js)
	if err != nil {
		return nil, err
	}
	packed, err := gzip.NewWriterLevel(w, gzip.BestSpeed)
	if err != nil {
		return nil, fmt.Errorf("write snapshot: %w", err)
	}
	s := &SnapshotWriter{packed: packed, values: cbor.NewEncoder(packed)}
	return s, s.write(header{"snapshot", snapshotFormat, log})
}

// Add writes the state of one partition, after those of lower numbers.
func (s *SnapshotWriter) Add(state *State) error {
	if err := s.write(part{State: state, Profiles: len(state.Profiles)}); err != nil {
		return err
	}
	ids := make([]string, 0, len(state.Profiles))
	for id := range state.Profiles {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		if err := s.write(snapshotProfile{ID: id, State: state.Profiles[id]}); err != nil {
			return err
		}
	}
	return nil
}

// Close ends the snapshot; without it the file is cut off, and is refused.
func (s *SnapshotWriter) Close() error {
	if err := s.write(part{End: true}); err != nil {
		return err
	}
	if err := s.packed.Close(); err != nil {
		return fmt.Errorf("write snapshot: %w", err)
	}
	return nil
}

func (s *SnapshotWriter) write(value any) error {
	if err := s.values.Encode(value); err != nil {
		return fmt.Errorf("write snapshot: %w", err)
	}
	return nil
}

// SnapshotReader reads states back, in the order in which they were written. It is for one goroutine.
type SnapshotReader struct {
	packed *gzip.Reader
	values *cbor.Decoder
}

// NewSnapshotReader begins to read a snapshot, which must be of the streams that exist; the reader stays the
// caller's.
func NewSnapshotReader(ctx context.Context, js jetstream.JetStream, r io.Reader) (*SnapshotReader, error) {
	log, err := generation(ctx, js)
	if err != nil {
		return nil, err
	}
	packed, err := gzip.NewReader(r)
	if err != nil {
		return nil, fmt.Errorf("read snapshot: it is not a file that attune replay --snapshot has written, or is cut off: %w", whole(err))
	}
	modes, err := cbor.DecOptions{MaxMapPairs: 1 << 17, MaxArrayElements: 1 << 20}.DecMode()
	if err != nil {
		return nil, fmt.Errorf("read snapshot: %w", err)
	}
	s := &SnapshotReader{packed: packed, values: modes.NewDecoder(packed)}
	var h header
	switch err := s.read(&h); {
	case err != nil:
		return nil, fmt.Errorf("read snapshot: it is not a file that attune replay --snapshot has written, or is cut off: %w", err)
	case h.Attune != "snapshot":
		return nil, errors.New("read snapshot: it is not a file that attune replay --snapshot has written")
	case h.Format != snapshotFormat:
		return nil, fmt.Errorf("read snapshot: it has format %d, and this program reads %d: use the program that wrote it", h.Format, snapshotFormat)
	case h.Log != log:
		return nil, fmt.Errorf("read snapshot: it is of another log: the stream %s was created at another time", topology.Events)
	}
	return s, nil
}

// snapshotProfile is one encoded profile. It is not a pipeline.ProfileState, whose bytes would be parts of the decoder's buffer.
type snapshotProfile struct {
	ID    string `cbor:"1,keyasint"`
	State []byte `cbor:"2,keyasint"`
}

// Next reads the state of one partition; io.EOF after the last.
func (s *SnapshotReader) Next() (*State, error) {
	var p part
	if err := s.read(&p); err != nil {
		return nil, fmt.Errorf("read snapshot: %w", err)
	}
	if p.End || p.State == nil {
		more, err := io.Copy(io.Discard, io.MultiReader(s.values.Buffered(), s.packed)) // the checksum is at the end
		if err != nil {
			return nil, fmt.Errorf("read snapshot: %w", err)
		}
		if more > 0 {
			return nil, fmt.Errorf("read snapshot: %d bytes follow its end", more)
		}
		return nil, io.EOF
	}
	p.State.Profiles = make(map[string][]byte, p.Profiles)
	for range p.Profiles {
		var one snapshotProfile
		if err := s.read(&one); err != nil {
			return nil, fmt.Errorf("read snapshot: partition %d: %w", p.State.Partition, err)
		}
		p.State.Profiles[one.ID] = one.State
	}
	return p.State, nil
}

func (s *SnapshotReader) read(value any) error { return whole(s.values.Decode(value)) }

// whole makes an end of the file in its middle an error like any other.
func whole(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// generation tells the log from another one.
func generation(ctx context.Context, js jetstream.JetStream) (string, error) {
	stream, err := js.Stream(ctx, topology.Events)
	if err != nil {
		return "", fmt.Errorf("look up stream %s: %w", topology.Events, err)
	}
	return topology.Generation(stream.CachedInfo()), nil
}
