package ingest

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"unicode/utf8"
)

// packedLimit leaves room for what gzip adds to text that it can't shrink.
func packedLimit(limit int) int { return limit + limit/64 + 1024 }

// bodyRoom is how many bytes a request's body may take unpacked: what it says, where that can be believed, and never
// more than limit.
func bodyRoom(r *http.Request, limit int) int64 {
	if r.ContentLength >= 0 && r.Header.Get("Content-Encoding") == "" {
		return min(r.ContentLength, int64(limit))
	}
	return int64(limit)
}

// readBody reads a request's body as text: invalid UTF-8 becomes U+FFFD.
func readBody(r *http.Request, limit int) ([]byte, int, *problem) {
	body, status, p := readRaw(r, limit)
	if !utf8.Valid(body) {
		body = bytes.ToValidUTF8(body, []byte("\uFFFD"))
	}
	return body, status, p
}

// readRaw reads a request's body, unpacked, up to limit bytes of it. Neither a long body nor a gzip bomb takes
// more memory than that.
func readRaw(r *http.Request, limit int) ([]byte, int, *problem) {
	tooLarge := func() ([]byte, int, *problem) {
		return nil, http.StatusBadRequest, wrong(codePayloadTooLarge, "",
			"the body is larger than %d bytes unpacked; send fewer or smaller events at once", limit)
	}
	if r.ContentLength > int64(packedLimit(limit)) {
		return tooLarge()
	}
	// One byte more than allowed tells "too large" from "just fits".
	var src io.Reader
	gzipped := false
	switch strings.ToLower(strings.TrimSpace(r.Header.Get("Content-Encoding"))) {
	case "", "identity":
		src = io.LimitReader(r.Body, int64(limit)+1)
	case "gzip", "x-gzip":
		zr, err := gzip.NewReader(io.LimitReader(r.Body, int64(packedLimit(limit))))
		if err != nil {
			return unread(err, wrong(codeInvalidGzip, "", "the body is not gzip, as Content-Encoding says: %v", err))
		}
		defer func() { _ = zr.Close() }()
		src, gzipped = io.LimitReader(zr, int64(limit)+1), true
	default:
		return nil, http.StatusUnsupportedMediaType, wrong(codeEncoding, "",
			"this Content-Encoding is not understood; send the body plain or with gzip")
	}
	var buf bytes.Buffer
	if r.ContentLength > 0 && !gzipped {
		buf.Grow(min(int(r.ContentLength), limit) + bytes.MinRead)
	}
	_, err := buf.ReadFrom(src)
	if buf.Len() > limit {
		return tooLarge()
	}
	if err != nil {
		if gzipped {
			return unread(err, wrong(codeInvalidGzip, "", "the body's gzip is broken: %v", err))
		}
		return unread(err, wrong(codeBodyUnreadable, "", "the body could not be read to its end: %v", err))
	}
	return buf.Bytes(), 0, nil
}

// unread refuses a body that could not be read. A slow one is not wrong: a client that is told 400 would not send it again.
func unread(err error, p *problem) ([]byte, int, *problem) {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, http.StatusRequestTimeout, wrong(codeBodyTooSlow, "", "the body came too slowly to be read to its end; send it again")
	}
	return nil, http.StatusBadRequest, p
}
