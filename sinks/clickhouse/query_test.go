package clickhouse

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"attune/pipeline/embedded/enginetest"
)

func TestQueryFormats(t *testing.T) {
	c := configFor(enginetest.ClickHouse(t).DSN())
	dsn := queryDSN(t, c)
	for _, test := range []struct{ name, sql, format, want string }{
		{"a table by default", "SELECT 1 AS n, 'x' AS s", "", "┌─n─┬─s─┐"},
		{"TSV", "SELECT 1, 'x'", "TabSeparated", "1\tx\n"},
		{"JSON lines", "SELECT 1 AS n", "JSONEachRow", "{\"n\":1}\n"},
		{"the statement's own wins", "SELECT 1 AS n FORMAT CSVWithNames", "JSONEachRow", "\"n\"\n1\n"},
		{"the database", "SELECT currentDatabase()", "TSV", "attune\n"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var out strings.Builder
			if err := Query(t.Context(), dsn, test.sql, test.format, &out); err != nil {
				t.Fatal(err)
			}
			if test.format == "" && !strings.Contains(out.String(), test.want) || test.format != "" && out.String() != test.want {
				t.Errorf("got %q, want %q", out.String(), test.want)
			}
		})
	}
}

func TestQueryErrors(t *testing.T) {
	server := enginetest.ClickHouse(t)
	good := queryDSN(t, configFor(server.DSN()))
	wrong := strings.Replace(server.HTTPURL(), "http://", "http://attune:wrong@", 1) + "/attune"
	for _, test := range []struct {
		name, dsn, sql, format string
		code                   int
		errname, contains      string
	}{
		{name: "unknown table", dsn: good, sql: "SELECT * FROM nowhere", code: 60, errname: "UNKNOWN_TABLE", contains: "nowhere"},
		{name: "syntax", dsn: good, sql: "SELEKT 1", code: 62, errname: "SYNTAX_ERROR", contains: "Syntax error"},
		{name: "unknown format", dsn: good, sql: "SELECT 1", format: "Nope", code: 73, errname: "UNKNOWN_FORMAT", contains: "Nope"},
		{name: "password", dsn: wrong, sql: "SELECT 1", code: 516, errname: "AUTHENTICATION_FAILED", contains: "password"},
		{name: "bad format name", dsn: good, sql: "SELECT 1", format: "x&y=z", contains: "want one of"},
		{name: "no statement", dsn: good, sql: " \n", contains: "no statement"},
		{name: "native address", dsn: server.DSN(), sql: "SELECT 1", contains: "want an address like"},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := Query(t.Context(), test.dsn, test.sql, test.format, io.Discard)
			if err == nil {
				t.Fatal("no error")
			}
			var e *QueryError
			if test.code != 0 && (!errors.As(err, &e) || e.Code != test.code || e.Name != test.errname) {
				t.Errorf("got %#v, want code %d (%s)", err, test.code, test.errname)
			}
			text := err.Error()
			if !strings.Contains(text, test.contains) {
				t.Errorf("%q does not say %q", text, test.contains)
			}
			for _, noise := range []string{"DB::Exception", "(version", "wrong@"} {
				if strings.Contains(text, noise) {
					t.Errorf("%q holds %q", text, noise)
				}
			}
		})
	}
}

// An exception after the first rows comes with status 200: it must be an error all the same.
func TestQueryFailsInTheMidstOfTheAnswer(t *testing.T) {
	dsn := queryDSN(t, configFor(enginetest.ClickHouse(t).DSN()))
	for _, format := range []string{"TSV", "JSON", "JSONEachRow", "CSV", "Native", "Parquet"} {
		t.Run(format, func(t *testing.T) {
			var out strings.Builder
			err := Query(t.Context(), dsn,
				"SELECT throwIf(number = 190000, 'boom'), repeat('x', 50) FROM numbers(200000) SETTINGS max_block_size = 1000", format, &out)
			var e *QueryError
			if !errors.As(err, &e) || e.Code != 395 || !strings.Contains(e.Message, "boom") {
				t.Fatalf("got %.300v, want code 395", err)
			}
			if strings.Contains(out.String(), "__exception__") || strings.Contains(out.String(), "boom: while") {
				t.Errorf("the answer holds the exception: %q", out.String()[max(0, out.Len()-300):])
			}
			if (format == "TSV" || format == "CSV") && out.Len() < 1_000_000 {
				t.Errorf("only %d bytes came before the error: nothing was streamed", out.Len())
			}
		})
	}
}

// Nobody should have to guess where the rows end and the error begins, however early it comes.
func TestQueryErrorHoldsNoRows(t *testing.T) {
	dsn := queryDSN(t, configFor(enginetest.ClickHouse(t).DSN()))
	for _, at := range []int{0, 500, 1500, 5000, 19000} {
		err := Query(t.Context(), dsn, fmt.Sprintf(
			"SELECT throwIf(number = %d, 'boom'), repeat('x', 50) FROM numbers(200000) SETTINGS max_block_size = 1000", at), "TSV", io.Discard)
		var e *QueryError
		if !errors.As(err, &e) || e.Code != 395 || e.Name == "" || strings.Contains(e.Message, "xxxx") || len(e.Message) > 300 {
			t.Errorf("row %d: got %.300v", at, err)
		}
	}
}

func TestQueryPassesAllOfALongAnswer(t *testing.T) {
	dsn := queryDSN(t, configFor(enginetest.ClickHouse(t).DSN()))
	var out strings.Builder
	if err := Query(t.Context(), dsn, "SELECT number FROM numbers(200000)", "TSV", &out); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
	if len(lines) != 200_000 || lines[199_999] != "199999" {
		t.Errorf("%d lines, the last %q", len(lines), lines[len(lines)-1])
	}
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestQueryReportsABrokenWriterAndABrokenConnection(t *testing.T) {
	dsn := queryDSN(t, configFor(enginetest.ClickHouse(t).DSN()))
	if err := Query(t.Context(), dsn, "SELECT 1", "", brokenPipe{}); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("got %v, want the writer's error", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Query(ctx, dsn, "SELECT 1", "", io.Discard); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want canceled", err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		conn, err := l.Accept()
		if err != nil {
			return
		}
		buffer := make([]byte, 4096)
		_, _ = conn.Read(buffer)
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
		_ = conn.Close() // without the last chunk
	}()
	if err := Query(t.Context(), "http://"+l.Addr().String(), "SELECT 1", "", io.Discard); err == nil || !strings.Contains(err.Error(), "broke off") {
		t.Errorf("got %v, want an answer that broke off", err)
	}
	<-served
	_ = l.Close()
}

func TestParseException(t *testing.T) {
	for _, test := range []struct {
		text string
		want QueryError
	}{
		{"Code: 60. DB::Exception: Unknown table x. (UNKNOWN_TABLE) (version 26.7.2.1)", QueryError{60, "UNKNOWN_TABLE", "Unknown table x"}},
		{"Code: 60. DB::Exception: Unknown table x. (UNKNOWN_TABLE) (version 25.8.1.1 (official build))\n", QueryError{60, "UNKNOWN_TABLE", "Unknown table x"}},
		{"Code: 210. DB::NetException: gone (a, b). (NETWORK_ERROR)", QueryError{210, "NETWORK_ERROR", "gone (a, b)"}},
		{"Code: 62. DB::Exception: line\nline two. (SYNTAX_ERROR)", QueryError{62, "SYNTAX_ERROR", "line\nline two"}},
		{"Code: 1. DB::Exception: no name", QueryError{1, "", "no name"}},
		{"<html>bad gateway</html>", QueryError{0, "", "<html>bad gateway</html>"}},
	} {
		if got := parseException(test.text); *got != test.want {
			t.Errorf("%q: got %+v, want %+v", test.text, *got, test.want)
		}
	}
}

// Whoever names only the DSN may have the HTTP interface at another port than ClickHouse's own.
func TestQueryOfNobodySaysWhereToLook(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	listener.Close()
	err = Query(t.Context(), "http://"+listener.Addr().String()+"/attune", "SELECT 1", "", io.Discard)
	if err == nil || !strings.HasPrefix(err.Error(), "query clickhouse at "+listener.Addr().String()+": ") || !strings.HasSuffix(err.Error(), "; if its HTTP interface is elsewhere, set clickhouse.http") {
		t.Errorf("error %v", err)
	}
}
