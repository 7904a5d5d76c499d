package deliver

import (
	"sync"
	"testing"
	"time"
)

// Another worker, which has lost the destination and doesn't know it yet, writes the record just after it was read here.
// What is done must follow from what it wrote.
func TestWhatAnotherWorkerWroteCounts(t *testing.T) {
	foreign := func(state Outcome) Record {
		return Record{State: state, Attempt: 1, Token: "another's", At: time.Now().UTC()}
	}
	for _, c := range []struct {
		name         string
		person       bool
		left, writes Record
		came         int
		outcome      Outcome
		reason       string
	}{
		{"it sends what seemed new", true, Record{}, foreign(attempting), 0, Unknown, "interrupted"},
		{"it sends what seemed to have no address", false, Record{}, foreign(attempting), 0, Unknown, "interrupted"},
		{"it has not sent what it seemed to send", true, foreign(attempting), foreign(waiting), 1, Accepted, ""},
		{"it was done with what seemed new", true, Record{}, foreign(Accepted), 0, Accepted, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			b := newBench(t)
			if c.person {
				b.person("anna", map[string]string{"email": "anna@shop.example"})
			}
			s := startServer(t, &server{})
			if c.left.State != "" {
				b.note("d1", c.left)
			}
			b.enqueue(nil, delivery("d1"))
			meddle := sync.OnceFunc(func() { b.note("d1", c.writes) })
			b.run(b.stage("mail", s.address, func(config *Config) {
				config.faults = func(at point) error {
					if at == recordRead {
						meddle()
					}
					return nil
				}
			}))
			if e := b.awaitEnds(1)["d1"].Properties; e.Outcome != string(c.outcome) || e.Reason != c.reason {
				t.Errorf("feedback %+v", e)
			}
			if came, _ := s.count("d1"); came != c.came {
				t.Errorf("%d mails came, want %d", came, c.came)
			}
		})
	}
}
