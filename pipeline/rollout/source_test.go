package rollout

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"attune/pipeline/bus"
	"attune/pipeline/embedded/enginetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Every key is visited, however often the keys are written while they are read.
func TestReadVisitsEveryKeyOfABucketThatIsWritten(t *testing.T) {
	t.Parallel()
	const keys, readings = 600, 30
	js := enginetest.JetStream(t)
	if _, err := js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "b"}); err != nil {
		t.Fatal(err)
	}
	wave, err := bus.NewWave(js.Conn())
	if err != nil {
		t.Fatal(err)
	}
	defer wave.Close()
	write := func(from, count int) error {
		for i := range count {
			if _, err := wave.Publish(&nats.Msg{Subject: fmt.Sprintf("$KV.b.%d", (from+i*7)%keys), Data: make([]byte, 1000)}); err != nil {
				return err
			}
		}
		_, err := wave.Wait(t.Context())
		return err
	}
	if err := write(0, keys); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	written := make(chan error, 1)
	go func() {
		var err error
		for from := 0; err == nil && ctx.Err() == nil; from += 210 {
			err = write(from, 30)
		}
		written <- err
	}()
	d := &drive{r: &Runner{config: Config{JetStream: js}}}
	for range readings {
		visited := map[string]bool{}
		err := d.read(t.Context(), "KV_b", jetstream.ConsumerConfig{
			FilterSubject: "$KV.b.>", DeliverPolicy: jetstream.DeliverLastPerSubjectPolicy,
		}, 0, func(one bus.Delivery) error {
			visited[strings.TrimPrefix(one.Subject, "$KV.b.")] = true
			return nil
		})
		if err != nil || len(visited) != keys {
			t.Errorf("%d of %d keys were visited, %v", len(visited), keys, err)
		}
	}
	stop()
	if err := <-written; err != nil {
		t.Error(err)
	}
}
