package bus

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// look is how often a wave that waits looks whether answers still come.
const look = 500 * time.Millisecond

// elections is where a cluster tells that a stream of the account has got another leader.
const elections = "$JS.EVENT.ADVISORY.STREAM.LEADER_ELECTED."

// doubt is whether what has no answer in a round will have one: another leader knows only what a majority had by then, and
// what was on its way on a connection that broke is lost either way. The wave's lock is held.
type doubt struct {
	conn       *nats.Conn
	reconnects uint64 // by when the round began
	election   string // the latest stream whose leader is another one since
}

// begin begins a round, before its first message is sent.
func (d *doubt) begin() { d.election, d.reconnects = "", d.conn.Stats().Reconnects }

// elected notes an election.
func (d *doubt) elected(m *nats.Msg) { d.election = strings.TrimPrefix(m.Subject, elections) }

// reason is why there is doubt; nil: there is none.
func (d *doubt) reason() error {
	switch {
	case d.election != "":
		return fmt.Errorf("stream %s has got another leader since", d.election)
	case d.reconnected():
		return errReconnected
	}
	return nil
}

var errReconnected = errors.New("the connection was made anew since")

// reconnected tells whether the connection was made anew since the round began.
func (d *doubt) reconnected() bool { return d.conn.Stats().Reconnects != d.reconnects }
