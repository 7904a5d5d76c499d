package embedded

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// What a power cut costs is the server's doing, and no test can cut the power: this makes sure that the server was told,
// and still acknowledges.
func TestSyncReachesTheServer(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]NATSConfig{
		"always":   {SyncAlways: true},
		"interval": {SyncInterval: 7 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.Dir = t.TempDir()
			n, err := StartNATS(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			defer n.Close()
			got := n.server.JetStreamConfig()
			if got.SyncAlways != c.SyncAlways || c.SyncInterval != 0 && got.SyncInterval != c.SyncInterval {
				t.Errorf("the server syncs always: %t, every %s", got.SyncAlways, got.SyncInterval)
			}
			conn, err := n.Connect()
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			js, err := jetstream.New(conn)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := js.CreateStream(t.Context(), jetstream.StreamConfig{Name: "S", Subjects: []string{"s"}}); err != nil {
				t.Fatal(err)
			}
			if _, err := js.Publish(t.Context(), "s", []byte("x")); err != nil {
				t.Error(err)
			}
		})
	}
}
