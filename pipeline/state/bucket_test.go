package state

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"attune/pipeline/bus"
	"attune/pipeline/embedded/enginetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T) (*Bucket, jetstream.KeyValue) {
	t.Helper()
	js := enginetest.JetStream(t)
	kv, err := js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "b"})
	if err != nil {
		t.Fatal(err)
	}
	return again(t, js.Conn()), kv
}

func again(t *testing.T, conn *nats.Conn) *Bucket {
	t.Helper()
	b, err := Open(conn, "b")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

func put(t *testing.T, b *Bucket, writes ...Write) []uint64 {
	t.Helper()
	revisions, conflicts, err := b.Put(t.Context(), writes)
	if err != nil || len(conflicts) > 0 {
		t.Fatalf("put: conflicts %v, %v", conflicts, err)
	}
	return revisions
}

func TestBucketReadsManyKeysAtOnce(t *testing.T) {
	t.Parallel()
	b, kv := open(t)
	const count = 2500
	keys, want := make([]string, count), map[string]Entry{}
	var writes []Write
	for i := range keys {
		keys[i] = fmt.Sprintf("k%d", i)
		want[keys[i]] = Entry{}
		if i%5 != 0 { // every fifth is missing
			writes = append(writes, Write{Key: keys[i], Value: []byte(strconv.Itoa(i))})
		}
	}
	for i, revision := range put(t, b, writes...) {
		want[writes[i].Key] = Entry{Value: writes[i].Value, Revision: revision}
	}
	for i := 1; i < count; i += 250 { // some were deleted, some purged
		remove := kv.Delete
		if i%500 == 1 {
			remove = kv.Purge
		}
		if i%5 == 0 {
			continue
		}
		if err := remove(t.Context(), keys[i]); err != nil {
			t.Fatal(err)
		}
		b.NotBefore(uint64(len(writes)) + 1)
		want[keys[i]] = Entry{Revision: 0}
	}
	got, err := b.Get(t.Context(), keys)
	if err != nil {
		t.Fatal(err)
	}
	for key, entry := range got {
		if entry.Value == nil && want[key].Value == nil {
			if deleted := entry.Revision > uint64(len(writes)); entry.Revision != 0 && !deleted {
				t.Errorf("%s: revision %d", key, entry.Revision)
			}
			delete(got, key)
			delete(want, key)
		}
	}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("%.2000s", diff)
	}
	if got, err := b.Get(t.Context(), nil); err != nil || len(got) != 0 {
		t.Errorf("no keys: %v, %v", got, err)
	}
	if got, err := b.Get(t.Context(), []string{"k5", "k0"}); err != nil || len(got) != 2 { // nothing is there
		t.Errorf("missing keys: %v, %v", got, err)
	}
}

func TestBucketCreatesOverWhatIsGone(t *testing.T) {
	t.Parallel()
	b, kv := open(t)
	put(t, b, Write{Key: "k", Value: []byte("1")}, Write{Key: "empty", Value: []byte{}})
	if err := kv.Delete(t.Context(), "k"); err != nil {
		t.Fatal(err)
	}
	got, err := b.Get(t.Context(), []string{"k", "empty"})
	if err != nil {
		t.Fatal(err)
	}
	if got["k"].Value != nil || got["k"].Revision != 3 {
		t.Errorf("a deleted key is read as %+v, want no value and revision 3", got["k"])
	}
	if got["empty"].Value == nil || got["empty"].Revision != 2 {
		t.Errorf("an empty value is read as %+v, want it at revision 2", got["empty"])
	}
	put(t, b, Write{Key: "k", Value: []byte("2"), Revision: got["k"].Revision})
	entry, err := kv.Get(t.Context(), "k")
	if err != nil || string(entry.Value()) != "2" || entry.Revision() != 4 {
		t.Errorf("written over a deleted key: %v, %v", entry, err)
	}
}

func TestBucketTellsConflictsByIndex(t *testing.T) {
	t.Parallel()
	b, _ := open(t)
	first := put(t, b, Write{Key: "a", Value: []byte("1")}, Write{Key: "b", Value: []byte("1")})
	revisions, conflicts, err := b.Put(t.Context(), []Write{
		{Key: "a", Value: []byte("2"), Revision: first[0]},
		{Key: "b", Value: []byte("2"), Revision: first[1] + 7}, // never was
		{Key: "a", Value: []byte("3"), Revision: first[0]},     // not any more
		{Key: "b", Value: []byte("3")},                         // exists
		{Key: "c", Value: []byte("1")},
		{Key: "d", Value: []byte("1"), Revision: 1}, // does not exist
	})
	if err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff([]int{1, 2, 3, 5}, conflicts); diff != "" {
		t.Errorf("conflicts: %s", diff)
	}
	if diff := gocmp.Diff([]uint64{3, 0, 0, 0, 4, 0}, revisions); diff != "" {
		t.Errorf("revisions: %s", diff)
	}
	if b.Newest() != 4 {
		t.Errorf("newest %d, want 4", b.Newest())
	}
	got, err := b.Get(t.Context(), []string{"a", "b", "c", "d"})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]Entry{"a": {[]byte("2"), 3}, "b": {[]byte("1"), 2}, "c": {[]byte("1"), 4}, "d": {}}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestBucketStoresAllOrSaysConflict(t *testing.T) {
	t.Parallel()
	b, _ := open(t)
	revisions, err := b.Store(t.Context(), []Write{{Key: "a", Value: []byte("1")}, {Key: "b", Value: []byte("1")}})
	if diff := gocmp.Diff([]uint64{1, 2}, revisions); diff != "" || err != nil || b.Newest() != 2 {
		t.Fatalf("%v, newest %d: %s", err, b.Newest(), diff)
	}
	writes := []Write{
		{Key: "a", Value: []byte("2"), Revision: 1},
		{Key: "b", Value: []byte("2")}, // exists
		{Key: "c", Value: []byte("1")},
	}
	if revisions, err := b.Store(t.Context(), writes); !bus.IsConflict(err) || revisions != nil {
		t.Errorf("%v, %v; want a conflict", revisions, err)
	}
	_, conflicts, err := b.Put(t.Context(), writes) // to know: the same again
	if diff := gocmp.Diff([]int{0, 1, 2}, conflicts); diff != "" || err != nil {
		t.Errorf("%v: %s", err, diff)
	}
	got, err := b.Get(t.Context(), []string{"a", "b", "c"})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]Entry{"a": {[]byte("2"), 3}, "b": {[]byte("1"), 2}, "c": {[]byte("1"), 4}}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if revisions, err := b.Store(t.Context(), nil); err != nil || len(revisions) != 0 {
		t.Errorf("nothing: %v, %v", revisions, err)
	}
}

// Many add one to the same few numbers; none of it is lost.
func TestBucketsLoseNoUpdate(t *testing.T) {
	t.Parallel()
	b, kv := open(t)
	const writers, rounds = 4, 60
	keys := []string{"x", "y", "z"}
	var work sync.WaitGroup
	for range writers {
		mine := again(t, b.conn)
		work.Go(func() {
			for range rounds {
				for todo := keys; len(todo) > 0; {
					found, err := mine.Get(t.Context(), todo)
					if err != nil {
						t.Error(err)
						return
					}
					var writes []Write
					for _, k := range todo {
						n, _ := strconv.Atoi(string(found[k].Value))
						writes = append(writes, Write{Key: k, Value: strconv.AppendInt(nil, int64(n+1), 10), Revision: found[k].Revision})
					}
					_, conflicts, err := mine.Put(t.Context(), writes)
					if err != nil {
						t.Error(err)
						return
					}
					todo = nil
					for _, i := range conflicts {
						todo = append(todo, writes[i].Key)
					}
				}
			}
		})
	}
	work.Wait()
	for _, k := range keys {
		entry, err := kv.Get(t.Context(), k)
		if err != nil {
			t.Fatal(err)
		}
		if want := strconv.Itoa(writers * rounds); string(entry.Value()) != want {
			t.Errorf("%s is %s, want %s", k, entry.Value(), want)
		}
	}
}

// An answer is cut where it is more than is sent at once; nothing may be taken for missing. A broker cuts the connection
// for which more than 64 MiB wait, and this one reads nothing for a while.
func TestBucketReadsMoreThanAConnectionHolds(t *testing.T) {
	t.Parallel()
	var reading sync.RWMutex
	conn, err := enginetest.NATS(t).Connect(nats.NoReconnect(), func(o *nats.Options) error {
		o.InProcessServer = haltingServer{o.InProcessServer, &reading}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := js.CreateKeyValue(t.Context(), jetstream.KeyValueConfig{Bucket: "b"}); err != nil {
		t.Fatal(err)
	}
	b := again(t, conn)
	const count, size = 90, 1 << 20
	var writes []Write
	keys := make([]string, count)
	value := bytes.Repeat([]byte("x"), size)
	for i := range keys {
		keys[i] = fmt.Sprintf("k%d", i)
		writes = append(writes, Write{Key: keys[i], Value: value})
	}
	put(t, b, writes...)
	reading.Lock()
	time.AfterFunc(500*time.Millisecond, reading.Unlock)
	got, err := b.Get(t.Context(), keys)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range keys {
		if len(got[k].Value) != size {
			t.Errorf("%s has %d bytes at revision %d", k, len(got[k].Value), got[k].Revision)
		}
	}
	if most := answerBytes/size + 1; b.asked < count/most {
		t.Errorf("%d values of %d bytes came in %d answers, want %d values in each at most", count, size, b.asked, most)
	}
}

// haltingServer makes connections that read nothing while somebody else holds reading.
type haltingServer struct {
	nats.InProcessConnProvider
	reading *sync.RWMutex
}

func (s haltingServer) InProcessConn() (net.Conn, error) {
	conn, err := s.InProcessConnProvider.InProcessConn()
	return haltingConn{conn, s.reading}, err
}

type haltingConn struct {
	net.Conn
	reading *sync.RWMutex
}

func (c haltingConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.reading.RLock()
	defer c.reading.RUnlock()
	return n, err
}

func TestBucketRefusesAnOldAnswer(t *testing.T) {
	t.Parallel()
	b, _ := open(t)
	put(t, b, Write{Key: "k", Value: []byte("1")})
	b.NotBefore(2)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := b.Get(ctx, []string{"k"}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("an answer from before revision 2: %v", err)
	}
	other := again(t, b.conn)
	put(t, other, Write{Key: "other"})
	if got, err := b.Get(t.Context(), []string{"k"}); err != nil || string(got["k"].Value) != "1" {
		t.Errorf("%v, %v", got, err)
	}
}

// answering has the test answer in the broker's place: as that does, but for what edit makes of the answer of a number.
func answering(t *testing.T, b *Bucket, edit func(number int, answer []*nats.Msg) []*nats.Msg) {
	t.Helper()
	js, err := jetstream.New(b.conn)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := js.Stream(t.Context(), "KV_b")
	if err != nil {
		t.Fatal(err)
	}
	config := stream.CachedInfo().Config
	config.AllowDirect = false
	if stream, err = js.UpdateStream(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	number := 0
	sub, err := b.conn.Subscribe("$JS.API.DIRECT.GET.KV_b", func(m *nats.Msg) {
		var request struct {
			Subjects []string `json:"multi_last"`
		}
		if err := json.Unmarshal(m.Data, &request); err != nil {
			t.Error(err)
		}
		var found []*jetstream.RawStreamMsg
		for _, subject := range request.Subjects {
			if one, err := stream.GetLastMsgForSubject(t.Context(), subject); err == nil {
				found = append(found, one)
			}
		}
		slices.SortFunc(found, func(a, b *jetstream.RawStreamMsg) int { return cmp.Compare(a.Sequence, b.Sequence) })
		var answer []*nats.Msg
		last := "0"
		for _, one := range found {
			h := nats.Header{"Nats-Subject": {one.Subject}, "Nats-Sequence": {strconv.FormatUint(one.Sequence, 10)}, "Nats-Last-Sequence": {last}}
			last = h.Get("Nats-Sequence")
			if operation := one.Header.Get("KV-Operation"); operation != "" {
				h.Set("KV-Operation", operation)
			}
			answer = append(answer, &nats.Msg{Header: h, Data: one.Data})
		}
		end := nats.Header{"Status": {"404"}, "Description": {"No Results"}}
		if len(found) > 0 {
			info, err := stream.Info(t.Context())
			if err != nil {
				t.Error(err)
				return
			}
			end = nats.Header{"Status": {"204"}, "Nats-UpTo-Sequence": {strconv.FormatUint(info.State.LastSeq, 10)}, "Nats-Num-Pending": {"0"}, "Nats-Last-Sequence": {last}}
		}
		for _, one := range edit(number, append(answer, &nats.Msg{Header: end})) {
			one.Subject = m.Reply
			_ = b.conn.PublishMsg(one)
		}
		number++
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sub.Unsubscribe() })
}

// A replica that lags may know none of the keys, and its answer then does not say how old it is.
func TestBucketDoesNotTakeALaggingReplicasWordForNothing(t *testing.T) {
	t.Parallel()
	b, _ := open(t)
	answering(t, b, func(number int, answer []*nats.Msg) []*nats.Msg {
		if number < 3 {
			return []*nats.Msg{{Header: nats.Header{"Status": {"404"}, "Description": {"No Results"}}}}
		}
		return answer
	})
	put(t, b, Write{Key: "k", Value: []byte("1")})
	got, err := b.Get(t.Context(), []string{"k", "none"})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]Entry{"k": {Value: []byte("1"), Revision: 1}, "none": {}}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got, err = b.Get(t.Context(), []string{"none"}); err != nil || got["none"].Revision != 0 {
		t.Errorf("%v, %v", got, err)
	}
}

// Whatever of an answer is lost while the client connects to another node: what it held is not taken for missing.
func TestBucketNoticesThatAPartOfAnAnswerIsLost(t *testing.T) {
	t.Parallel()
	b, _ := open(t)
	var writes []Write
	var keys []string
	want := map[string]Entry{}
	for i := range 4 {
		w := Write{Key: fmt.Sprint("k", i), Value: []byte{byte(i)}}
		writes, keys = append(writes, w), append(keys, w.Key)
		want[w.Key] = Entry{Value: w.Value, Revision: uint64(i + 1)}
	}
	put(t, b, writes...)
	reader := again(t, b.conn) // which knows of nothing that is there
	lost := [][2]int{{0, 1}, {1, 3}, {3, 4}, {0, 4}}
	answering(t, b, func(number int, answer []*nats.Msg) []*nats.Msg {
		if number < len(lost) {
			return slices.Delete(answer, lost[number][0], lost[number][1])
		}
		return answer
	})
	got, err := reader.Get(t.Context(), keys)
	if err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if reader.asked != len(lost)+1 {
		t.Errorf("it was asked %d times, want %d", reader.asked, len(lost)+1)
	}
}

// Someone who wrote nothing may still want what was stored before it asks.
func TestBucketRefreshWantsWhatIsStoredNow(t *testing.T) {
	t.Parallel()
	b, kv := open(t)
	for range 3 {
		if _, err := kv.Put(t.Context(), "k", []byte("1")); err != nil {
			t.Fatal(err)
		}
	}
	if err := b.Refresh(t.Context()); err != nil || b.Newest() != 3 {
		t.Errorf("newest %d, %v; want 3", b.Newest(), err)
	}
	if got, err := b.Get(t.Context(), []string{"none"}); err != nil || got["none"].Revision != 0 {
		t.Errorf("%v, %v", got, err)
	}
	if keys, err := kv.Keys(t.Context()); err != nil || len(keys) != 1 {
		t.Errorf("the bucket's keys are %v, %v; want k alone", keys, err)
	}
	b.conn.Close()
	if err := b.Refresh(t.Context()); !errors.Is(err, nats.ErrConnectionClosed) {
		t.Errorf("refresh: %v", err)
	}
}

func TestBucketWithoutItsConnection(t *testing.T) {
	t.Parallel()
	b, _ := open(t)
	b.conn.Close()
	began := time.Now()
	if _, err := b.Get(t.Context(), []string{"k"}); !errors.Is(err, nats.ErrConnectionClosed) {
		t.Errorf("get: %v", err)
	}
	if _, err := b.Store(t.Context(), []Write{{Key: "k"}}); !errors.Is(err, nats.ErrConnectionClosed) {
		t.Errorf("store: %v", err)
	}
	if _, _, err := b.Put(t.Context(), []Write{{Key: "k"}}); !errors.Is(err, nats.ErrConnectionClosed) {
		t.Errorf("put: %v", err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("it took %s to notice", took)
	}
}
