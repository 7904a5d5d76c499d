package bus

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// What decides is asked of a stream's leader, which has all that was confirmed: a replica that lags, which may answer direct
// gets, or a consumer on it, may not have it yet.

// NextAtLeader is the sequence of a stream's first message from a sequence on whose subject fits; 0: there is none.
func NextAtLeader(ctx context.Context, conn *nats.Conn, stream, subject string, from uint64) (uint64, error) {
	sequence, _, err := StoredAtLeader(ctx, conn, stream, subject, from)
	return sequence, err
}

// StoredAtLeader is NextAtLeader with when the message was stored.
func StoredAtLeader(ctx context.Context, conn *nats.Conn, stream, subject string, from uint64) (sequence uint64, stored time.Time, err error) {
	m, err := atLeader(ctx, conn, stream, map[string]any{"seq": max(1, from), "next_by_subj": subject})
	return m.Sequence, m.Time, err
}

// MessageAtLeader is what a stream's message at a sequence holds; found is false where there is none.
func MessageAtLeader(ctx context.Context, conn *nats.Conn, stream string, sequence uint64) (data []byte, found bool, err error) {
	m, err := atLeader(ctx, conn, stream, map[string]any{"seq": sequence})
	return m.Data, m.Sequence > 0, err
}

// LastAtLeader is the sequence of a stream's last message of a subject; 0: there is none.
func LastAtLeader(ctx context.Context, conn *nats.Conn, stream, subject string) (uint64, error) {
	_, sequence, err := LastMessageAtLeader(ctx, conn, stream, subject)
	return sequence, err
}

// LastMessageAtLeader is LastAtLeader with what the message holds.
func LastMessageAtLeader(ctx context.Context, conn *nats.Conn, stream, subject string) (data []byte, sequence uint64, err error) {
	m, err := atLeader(ctx, conn, stream, map[string]any{"last_by_subj": subject})
	return m.Data, m.Sequence, err
}

// ValueAtLeader is the value of a bucket's key, and its revision; nil and 0: there is none.
func ValueAtLeader(ctx context.Context, conn *nats.Conn, bucket, key string) (value []byte, revision uint64, err error) {
	m, err := atLeader(ctx, conn, "KV_"+bucket, map[string]any{"last_by_subj": "$KV." + bucket + "." + key})
	if err != nil || m.Sequence == 0 {
		return nil, 0, err
	}
	if len(m.Header) > 0 {
		header, err := nats.DecodeHeadersMsg(m.Header)
		if err != nil {
			return nil, 0, fmt.Errorf("key %s of bucket %s: %w", key, bucket, err)
		}
		if header.Get("KV-Operation") != "" || header.Get(jetstream.MarkerReasonHeader) != "" {
			return nil, 0, nil // deleted
		}
	}
	return m.Data, m.Sequence, nil
}

type leadersMessage struct {
	Sequence uint64    `json:"seq"`
	Header   []byte    `json:"hdrs"`
	Data     []byte    `json:"data"`
	Time     time.Time `json:"time"`
}

// atLeader asks for one message; the zero one: there is none.
func atLeader(ctx context.Context, conn *nats.Conn, stream string, asked map[string]any) (leadersMessage, error) {
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	var answer struct {
		Message leadersMessage      `json:"message"`
		Error   *jetstream.APIError `json:"error"`
	}
	request, err := json.Marshal(asked)
	if err != nil {
		return answer.Message, err
	}
	m, err := conn.RequestWithContext(ctx, "$JS.API.STREAM.MSG.GET."+stream, request)
	if err == nil {
		err = json.Unmarshal(m.Data, &answer)
	}
	switch {
	case err != nil:
		err = fmt.Errorf("ask the leader of %s: %w", stream, err)
	case answer.Error != nil && answer.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound:
		return leadersMessage{}, nil
	case answer.Error != nil:
		err = fmt.Errorf("ask the leader of %s: %w", stream, answer.Error)
	}
	return answer.Message, err
}
