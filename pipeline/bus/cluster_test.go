package bus

import (
	"errors"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"attune/pipeline/embedded/enginetest"
)

// logCluster is a cluster with a stream LOG of LOG.* on all its nodes, as logStream is for one.
func logCluster(t *testing.T) (*enginetest.Cluster, *nats.Conn, jetstream.JetStream) {
	t.Helper()
	cluster := enginetest.NATSCluster(t, 3)
	conn, err := cluster.Connect()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "LOG", Subjects: []string{"LOG.*"}, Replicas: 3}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the node that we are connected to knows of the stream", func() bool {
		_, err := js.Publish(t.Context(), "LOG.0", nil, jetstream.WithExpectLastSequence(99)) // which is refused
		return !errors.Is(err, jetstream.ErrNoStreamResponse)
	})
	return cluster, conn, js
}

// A volatile consumer is on one node of a cluster. When that one dies, the next reader does not wait until it is back:
// nobody answers for the consumer meanwhile, and it is made anew on another node.
func TestVolatileConsumerDoesNotWaitForItsNode(t *testing.T) {
	t.Parallel()
	cluster, conn, js := logCluster(t)
	fill(t, conn, "LOG.0", 1, 100)
	read := func() (first uint64, err error) {
		p, err := OpenConsumer(t.Context(), js, Consumer{Stream: "LOG", Subject: "LOG.0", Durable: "reader", Batch: 10, Volatile: true})
		if err != nil {
			return 0, err
		}
		defer p.Close()
		batch, err := p.Next(t.Context(), 10)
		if err != nil {
			return 0, err
		}
		return batch[0].Sequence, p.Ack(batch[len(batch)-1])
	}
	if first, err := read(); err != nil || first != 1 {
		t.Fatalf("from %d: %v", first, err)
	}
	consumer, err := js.Consumer(t.Context(), "LOG", "reader")
	if err != nil {
		t.Fatal(err)
	}
	info := consumer.CachedInfo()
	if info.Config.Replicas != 1 || len(info.Cluster.Replicas) != 0 {
		t.Fatalf("%d nodes keep the consumer: %+v", info.Config.Replicas, info.Cluster)
	}
	cluster.Kill(cluster.Node(info.Cluster.Leader)) // it does not come back
	for deadline := time.Now().Add(time.Minute); ; {
		first, err := read()
		if err == nil {
			if first != 1 {
				t.Errorf("the next reader begins with %d: nobody knows what was acknowledged", first)
			}
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within a minute: %v", err)
		}
		t.Log(err)
		time.Sleep(100 * time.Millisecond)
	}
}
