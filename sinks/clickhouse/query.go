package clickhouse

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
)

// DefaultFormat is a table for people.
const DefaultFormat = "PrettyCompactMonoBlock"

// QueryError is what ClickHouse said to a query.
type QueryError struct {
	Code    int    // ClickHouse's number, 0 when it gave none
	Name    string // its name, such as UNKNOWN_TABLE; may be empty
	Message string // one line or several, without code and version
}

func (e *QueryError) Error() string {
	switch {
	case e.Code == 0:
		return "clickhouse: " + e.Message
	case e.Name == "":
		return fmt.Sprintf("clickhouse: code %d: %s", e.Code, e.Message)
	}
	return fmt.Sprintf("clickhouse: code %d (%s): %s", e.Code, e.Name, e.Message)
}

var formatName = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9]*$`)

// Query runs one statement over the HTTP interface and streams the answer to w in the given format, any of
// ClickHouse's; empty is [DefaultFormat]. A FORMAT in the statement itself wins. dsn is
// http://user:password@host:8123/database, see [Config.QueryDSN].
//
// ClickHouse's own errors are [*QueryError]. One that comes after the first rows is returned too; w then holds
// the part before it.
func Query(ctx context.Context, dsn, sql, format string, w io.Writer) error {
	if format == "" {
		format = DefaultFormat
	}
	if !formatName.MatchString(format) {
		return fmt.Errorf("format %q: want one of ClickHouse's, such as PrettyCompact, JSONEachRow or CSVWithNames", format)
	}
	if strings.TrimSpace(sql) == "" {
		return errors.New("query: no statement given")
	}
	req, err := request(ctx, dsn, sql, format)
	if err != nil {
		return err
	}
	// Compressed, an answer that fails late has its rows before the error, and nothing tells them apart.
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true, DisableCompression: true}
	defer transport.CloseIdleConnections()
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		err = fmt.Errorf("query clickhouse at %s: %w", req.URL.Host, reason(err))
		if dial := (*net.OpError)(nil); errors.As(err, &dial) && dial.Op == "dial" {
			return fmt.Errorf("%w; if its HTTP interface is elsewhere, set clickhouse.http", err)
		}
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK || resp.Header.Get("X-ClickHouse-Exception-Code") != "" {
		return refusal(resp)
	}
	out := &answer{w: w, tag: resp.Header.Get("X-ClickHouse-Exception-Tag")}
	_, err = io.Copy(out, resp.Body)
	if late := out.end(); late != nil {
		return late
	}
	if out.failed != nil {
		return fmt.Errorf("write the answer: %w", out.failed)
	}
	if err != nil {
		return fmt.Errorf("query clickhouse at %s: the answer broke off: %w", req.URL.Host, err)
	}
	return nil
}

func request(ctx context.Context, dsn, sql, format string) (*http.Request, error) {
	u, err := url.Parse(dsn)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, errors.New("query: want an address like http://user:password@localhost:8123/attune")
	}
	user := u.User
	parameters := url.Values{"default_format": {format}}
	if database := strings.Trim(u.Path, "/"); database != "" {
		parameters.Set("database", database)
	}
	u.User, u.Path, u.RawQuery = nil, "/", parameters.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), strings.NewReader(sql))
	if err != nil {
		return nil, fmt.Errorf("query: %w", err)
	}
	if user != nil {
		password, _ := user.Password()
		req.Header.Set("X-ClickHouse-User", user.Username())
		req.Header.Set("X-ClickHouse-Key", password)
	}
	return req, nil
}

// reason is a failed request's cause without its address.
func reason(err error) error {
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		return wrapped.Err
	}
	return err
}

// maxMessage bounds what is read of an error: ClickHouse cuts its own at 16 KiB.
const maxMessage = 64 << 10

// refusal is the error of an answer that isn't 200.
func refusal(resp *http.Response) error {
	var body bytes.Buffer
	out := &answer{w: &limited{w: &body, left: maxMessage}, tag: resp.Header.Get("X-ClickHouse-Exception-Tag")}
	_, err := io.Copy(out, resp.Body)
	if late := out.end(); late != nil {
		return late
	}
	e := parseException(body.String())
	if e.Message == "" {
		e.Message = "HTTP status " + resp.Status
		if err != nil {
			e.Message += ": " + err.Error()
		}
	}
	if e.Code == 0 {
		e.Code, _ = strconv.Atoi(resp.Header.Get("X-ClickHouse-Exception-Code"))
	}
	return e
}

// limited passes on the first bytes and drops the rest.
type limited struct {
	w    io.Writer
	left int
}

func (l *limited) Write(p []byte) (int, error) {
	n := min(len(p), l.left)
	l.left -= n
	if _, err := l.w.Write(p[:n]); err != nil {
		return 0, err
	}
	return len(p), nil
}

var (
	exceptionText = regexp.MustCompile(`(?s)^\s*Code: (\d+)\. DB::(?:\w+Exception|Exception): (.*)$`)
	exceptionTail = regexp.MustCompile(`(?s)^(.*?)\.? \(([A-Z0-9_]+)\)(?: \(version [^()]*(?:\([^()]*\))?[^()]*\))?\s*$`)
)

// parseException takes "Code: 60. DB::Exception: Text. (UNKNOWN_TABLE) (version 26.7.2.1)" to pieces.
func parseException(s string) *QueryError {
	e := &QueryError{Message: strings.TrimSpace(s)}
	if m := exceptionText.FindStringSubmatch(e.Message); m != nil {
		e.Code, _ = strconv.Atoi(m[1])
		e.Message = m[2]
		if m := exceptionTail.FindStringSubmatch(e.Message); m != nil {
			e.Message, e.Name = m[1], m[2]
		}
	}
	return e
}

// answer passes an answer on and holds back its end, in which ClickHouse reports an error that came late:
//
//	\r\n__exception__\r\n<tag>\r\n<message>\n<length> <tag>\r\n__exception__\r\n
//
// The tag is random and named by a header, so no data can look like it.
type answer struct {
	w      io.Writer
	tag    string
	held   []byte
	failed error // of w
}

func (a *answer) Write(p []byte) (int, error) {
	if a.failed != nil {
		return 0, a.failed
	}
	if a.tag == "" {
		_, a.failed = a.w.Write(p)
		return len(p), a.failed
	}
	a.held = append(a.held, p...)
	if ready := len(a.held) - maxMessage; ready > 0 {
		_, a.failed = a.w.Write(a.held[:ready])
		a.held = append(a.held[:0], a.held[ready:]...)
	}
	return len(p), a.failed
}

// end passes on what is held, up to the late error, and returns that.
func (a *answer) end() *QueryError {
	rest := a.held
	a.held = nil
	mark := []byte("__exception__\r\n" + a.tag + "\r\n")
	at := -1
	if a.tag != "" {
		at = bytes.LastIndex(rest, mark)
	}
	var late *QueryError
	if at >= 0 {
		message := string(rest[at+len(mark):])
		if end := strings.LastIndex(message, a.tag); end >= 0 {
			message = strings.TrimRight(strings.TrimRight(message[:end], " 0123456789"), "\r\n")
		}
		late = parseException(message)
		rest = bytes.TrimSuffix(rest[:at], []byte("\r\n"))
	}
	if a.failed == nil && len(rest) > 0 {
		_, a.failed = a.w.Write(rest)
	}
	return late
}
