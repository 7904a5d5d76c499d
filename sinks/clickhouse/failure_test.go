package clickhouse

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

func TestWhatACodeSays(t *testing.T) {
	b := setup(t)
	for _, test := range []struct {
		code          int32
		name          string
		again, ofRows bool
	}{
		{6, "CANNOT_PARSE_TEXT", false, true},
		{49, "LOGICAL_ERROR", false, true},
		{53, "TYPE_MISMATCH", false, true},
		{117, "INCORRECT_DATA", false, true},
		{306, "TOO_DEEP_RECURSION", false, true},
		{407, "DECIMAL_OVERFLOW", false, true},
		{16, "NO_SUCH_COLUMN_IN_TABLE", false, false},
		{60, "UNKNOWN_TABLE", false, false},
		{76, "CANNOT_OPEN_FILE", true, false},
		{107, "FILE_DOESNT_EXIST", false, false},
		{241, "MEMORY_LIMIT_EXCEEDED", true, false},
		{243, "NOT_ENOUGH_SPACE", true, false},
		{497, "ACCESS_DENIED", false, false},
		{1000, "POCO_EXCEPTION", true, false},
		{1001, "STD_EXCEPTION", true, false},
		{1002, "UNKNOWN_EXCEPTION", true, false},
	} {
		err := fmt.Errorf("insert: %w", &clickhouse.Exception{Code: test.code})
		if again, ofRows := temporary(err), aboutRows(err); again != test.again || ofRows != test.ofRows {
			t.Errorf("%s: try again %v, about rows %v; want %v, %v", test.name, again, ofRows, test.again, test.ofRows)
		}
		if name := b.text(t, fmt.Sprintf("SELECT errorCodeToName(%d)", test.code)); name != test.name {
			t.Errorf("code %d is %s, not %s", test.code, name, test.name)
		}
	}
	for _, err := range []error{nil, io.EOF, &clientError{io.EOF}} {
		if aboutRows(err) {
			t.Errorf("%v is about rows", err)
		}
	}
	for _, code := range rowCodes() {
		if temporary(&clickhouse.Exception{Code: code}) {
			t.Errorf("code %d is both about rows and for a time", code)
		}
	}
}

// refusing is a connection whose next insert fails.
type refusing struct {
	driver.Conn
	code int32
}

func (r *refusing) PrepareBatch(ctx context.Context, query string, opts ...driver.PrepareBatchOption) (driver.Batch, error) {
	if code := r.code; code != 0 {
		r.code = 0
		return nil, &clickhouse.Exception{Code: code}
	}
	return r.Conn.PrepareBatch(ctx, query, opts...)
}

// Only what is wrong with rows costs them their columns.
func TestWhatIsKeptAsTextAlone(t *testing.T) {
	for _, test := range []struct {
		name   string
		code   int32
		failed bool
		want   string
	}{
		{"a value", 117, false, `{"a":1}`}, // the columns stay empty
		{"a file system", 1001, false, "1"},
		{"a right that is missing", 497, true, "1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			b := setup(t)
			b.conn = &refusing{b.conn, test.code}
			err := b.Write(t.Context(), batchOf(1, `{"a":1}`))
			if exception := (*clickhouse.Exception)(nil); errors.As(err, &exception) != test.failed {
				t.Errorf("the first attempt: %v", err)
			}
			b.write(t, batchOf(1, `{"a":1}`)) // as the reader does, after an error
			if got := b.text(t, "SELECT if(properties_raw = '', toString(properties.a.:Int64), properties_raw) FROM events"); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}
