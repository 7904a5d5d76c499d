package bus

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Ack is the broker's answer to one message of a wave.
type Ack struct {
	Sequence  uint64 // where it was stored
	Duplicate bool   // it was known by its Nats-Msg-Id
	Err       error  // why it was refused; a *jetstream.APIError where the broker said so
}

// parseAck reads an answer, and the name of the stream that it comes from.
func parseAck(m *nats.Msg) (ack Ack, stream []byte) {
	if m.Header.Get("Status") == "503" {
		return Ack{Err: jetstream.ErrNoStreamResponse}, nil
	}
	if stream, sequence, ok := plainAck(m.Data); ok {
		return Ack{Sequence: sequence}, stream
	}
	var answer struct {
		Stream    string              `json:"stream"`
		Sequence  uint64              `json:"seq"`
		Duplicate bool                `json:"duplicate"`
		Error     *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(m.Data, &answer); err != nil {
		return Ack{Err: fmt.Errorf("confirmation %q: %w", m.Data, err)}, nil
	}
	if answer.Error != nil {
		return Ack{Err: answer.Error}, nil
	}
	return Ack{Sequence: answer.Sequence, Duplicate: answer.Duplicate}, []byte(answer.Stream)
}

// plainAck reads the answer as the broker writes it when all is well, {"stream":"EVENTS","seq":17}: most of them,
// without the cost of a JSON decoder.
func plainAck(data []byte) (stream []byte, sequence uint64, ok bool) {
	rest, begins := bytes.CutPrefix(data, []byte(`{"stream":"`))
	stream, digits, found := bytes.Cut(rest, []byte(`","seq":`))
	digits, closed := bytes.CutSuffix(digits, []byte("}"))
	if !begins || !found || !closed {
		return nil, 0, false
	}
	sequence, err := strconv.ParseUint(string(digits), 10, 64)
	return stream, sequence, err == nil
}

// IsConflict tells whether the broker refused a message because its subject had changed: someone else wrote.
func IsConflict(err error) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && (api.ErrorCode == jetstream.JSErrCodeStreamWrongLastSequence || api.ErrorCode == codeWrongLastSequenceConstant)
}

// codeWrongLastSequenceConstant is the clustered server's code for the same refusal.
const codeWrongLastSequenceConstant jetstream.ErrorCode = 10164
