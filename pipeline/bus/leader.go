package bus

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// NextAtLeader is the sequence of a stream's first message from a sequence on whose subject fits; 0: there is none. The
// stream's leader is asked, which has all that was confirmed: a replica that lags, or a consumer on it, may not have it yet.
func NextAtLeader(ctx context.Context, conn *nats.Conn, stream, subject string, from uint64) (uint64, error) {
	return atLeader(ctx, conn, stream, map[string]any{"seq": max(1, from), "next_by_subj": subject})
}

// LastAtLeader is the sequence of a stream's last message of a subject, as NextAtLeader; 0: there is none.
func LastAtLeader(ctx context.Context, conn *nats.Conn, stream, subject string) (uint64, error) {
	return atLeader(ctx, conn, stream, map[string]any{"last_by_subj": subject})
}

func atLeader(ctx context.Context, conn *nats.Conn, stream string, asked map[string]any) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	request, err := json.Marshal(asked)
	if err != nil {
		return 0, err
	}
	var answer struct {
		Message struct {
			Sequence uint64 `json:"seq"`
		} `json:"message"`
		Error *jetstream.APIError `json:"error"`
	}
	m, err := conn.RequestWithContext(ctx, "$JS.API.STREAM.MSG.GET."+stream, request)
	if err == nil {
		err = json.Unmarshal(m.Data, &answer)
	}
	switch {
	case err != nil:
		return 0, fmt.Errorf("ask the leader of %s: %w", stream, err)
	case answer.Error != nil && answer.Error.ErrorCode == jetstream.JSErrCodeMessageNotFound:
		return 0, nil
	case answer.Error != nil:
		return 0, fmt.Errorf("ask the leader of %s: %w", stream, answer.Error)
	}
	return answer.Message.Sequence, nil
}
