package pipeline_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"attune/pipeline"
	"attune/pipeline/embedded"
	"attune/pipeline/topology"
)

// written are the commits that a sink was given, by the stream's name and sequence.
type written struct {
	mu  sync.Mutex
	all map[string]int
}

func (w *written) Write(_ context.Context, b pipeline.SinkBatch) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	_, lost, _ := strings.Cut(b.Stream, "~")
	for _, p := range b.Parts {
		w.all[fmt.Sprintf("%s:%d", lost, p.Sequence)]++
	}
	return nil
}

// has tells whether each commit of a range was written once, and no other under that name of the stream.
func (w *written) has(lost string, from, to uint64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := uint64(0)
	for key, times := range w.all {
		if strings.HasPrefix(key, lost+":") {
			n++
			if times != 1 {
				return false
			}
		}
	}
	for sequence := from; sequence <= to; sequence++ {
		if w.all[fmt.Sprintf("%s:%d", lost, sequence)] != 1 {
			return false
		}
	}
	return n == to-from+1
}

// A power cut takes commits from the stream's end that were written already, while the journal is kept. What is stored in
// their place is written too, whether or not the stream has grown past them by the time that the sink looks.
func TestSinkGoesOnAfterCommitsAreLost(t *testing.T) {
	t.Parallel()
	for name, soon := range map[string]bool{"it looks before they are replaced": true, "it looks after": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, kept := t.TempDir(), t.TempDir()
			folder := filepath.Join(dir, "jetstream", "$G", "streams", topology.Commits)
			serve := func() (*rig, func()) {
				t.Helper()
				n, err := embedded.StartNATS(t.Context(), embedded.NATSConfig{Dir: dir})
				if err != nil {
					t.Fatal(err)
				}
				r := newRigOn(t, n, 2)
				return r, func() { r.js.Conn().Close(); n.Close() }
			}
			w := &written{all: map[string]int{}}
			r, end := serve()
			r.commit(1, 20)
			end()
			if err := os.CopyFS(kept, os.DirFS(folder)); err != nil {
				t.Fatal(err)
			}
			r, end = serve()
			r.commit(21, 20)
			stop := r.read(t.Context(), w, 19, 10*time.Millisecond)
			eventually(t, "all is written", func() bool { return w.has("", 1, 40) })
			stop()
			end()
			if err := os.RemoveAll(folder); err != nil {
				t.Fatal(err)
			}
			if err := os.CopyFS(folder, os.DirFS(kept)); err != nil {
				t.Fatal(err)
			}
			r, end = serve()
			defer end()
			const more = 50
			if soon {
				stop = r.read(t.Context(), w, 19, 10*time.Millisecond)
				eventually(t, "it has looked", func() bool {
					journal, err := r.js.KeyValue(t.Context(), topology.Journal)
					if err != nil {
						t.Fatal(err)
					}
					entry, err := journal.Get(t.Context(), "sink")
					return err == nil && strings.Contains(string(entry.Value()), `"lost":1`)
				})
				r.commit(21, more)
			} else {
				r.commit(21, more)
				stop = r.read(t.Context(), w, 19, 10*time.Millisecond)
			}
			eventually(t, "what came in their place is written", func() bool { return w.has("1", 21, 20+more) })
			stop()
			r.commit(21+more, 20)
			stop = r.read(t.Context(), w, 19, 10*time.Millisecond)
			eventually(t, "it goes on", func() bool { return w.has("1", 21, 40+more) })
			stop()
			if !w.has("", 1, 40) {
				t.Error("what was written before was written again")
			}
		})
	}
}
