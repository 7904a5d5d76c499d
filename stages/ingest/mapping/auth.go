package mapping

import (
	"crypto/hmac"
	"crypto/sha1" // some producers sign with HMAC-SHA1, which is not broken
	"crypto/sha256"
	"crypto/sha512"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"hash"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Authentication says how a request proves where it comes from: a token that it shows, or a signature of its body.
type Authentication struct {
	token *token
	hmac  *signature
}

// token is shown in a header or a parameter of the query.
type token struct {
	header, query, prefix string
}

// signature is an HMAC in a header. What is signed is the body, or the template with {body} and {header-name}.
type signature struct {
	header, prefix string
	decode         func(string) ([]byte, error)
	hash           func() hash.Hash
	signed         string
	timestamp      string // header with Unix seconds; empty: none
	tolerance      time.Duration
}

// defaultTolerance is how far a signature's timestamp may be from the clock, as Standard Webhooks has it.
const defaultTolerance = 5 * time.Minute

func (d *decoder) authentication(m *Mapping, o *object) {
	p, ok := o.take("authenticate")
	if !ok {
		return // files need none
	}
	a, ok := d.object(p.value, "authenticate")
	if !ok {
		return
	}
	if p, ok := a.take("token"); ok {
		if t, ok := d.object(p.value, "authenticate.token"); ok {
			m.authenticate.token = &token{}
			m.authenticate.token.header, _ = t.text("header")
			m.authenticate.token.query, _ = t.text("query")
			m.authenticate.token.prefix, _ = t.text("prefix")
			if (m.authenticate.token.header == "") == (m.authenticate.token.query == "") {
				d.fail(t.at, t.field, "want one of header and query", "")
			}
			t.done()
		}
	}
	if p, ok := a.take("hmac"); ok {
		if s, ok := d.object(p.value, "authenticate.hmac"); ok {
			m.authenticate.hmac = d.signature(s)
		}
	}
	if (m.authenticate.token == nil) == (m.authenticate.hmac == nil) {
		d.fail(a.at, "authenticate", "want one of token and hmac", "")
	}
	a.done()
}

func (d *decoder) signature(o *object) *signature {
	s := &signature{signed: "{body}"}
	if s.header, _ = o.text("header"); s.header == "" {
		d.fail(o.at, o.field, "header is missing", "the header that carries the signature")
	}
	s.prefix, _ = o.text("prefix")
	switch algorithm, at := o.text("algorithm"); algorithm {
	case "", "sha256":
		s.hash = sha256.New
	case "sha1":
		s.hash = sha1.New
	case "sha512":
		s.hash = sha512.New
	default:
		d.fail(at, join2(o.field, "algorithm"), fmt.Sprintf("%q is not known", algorithm), "want sha256, sha512 or sha1")
	}
	switch encoding, at := o.text("encoding"); encoding {
	case "", "base64":
		s.decode = base64.StdEncoding.DecodeString
	case "hex":
		s.decode = hex.DecodeString
	default:
		d.fail(at, join2(o.field, "encoding"), fmt.Sprintf("%q is not known", encoding), "want base64 or hex")
	}
	if signed, at := o.text("signed"); signed != "" {
		if s.signed = signed; strings.Count(signed, "{body}") != 1 {
			d.fail(at, join2(o.field, "signed"), "{body} must stand in it, once", "such as {webhook-id}.{webhook-timestamp}.{body}")
		}
	}
	s.timestamp, _ = o.text("timestamp")
	s.tolerance = o.duration("tolerance", defaultTolerance)
	if s.timestamp != "" && !strings.Contains(s.signed, "{"+s.timestamp+"}") {
		d.fail(o.at, join2(o.field, "timestamp"), "the timestamp is not signed", "let it stand in signed: {"+s.timestamp+"}.{body}")
	}
	o.done()
	return s
}

// Secret is what a producer and an entrance share.
type Secret string

// String keeps it out of logs.
func (Secret) String() string { return "***" }

// bytes are the key of a signature: of a Standard Webhooks secret the decoded part.
func (s Secret) bytes() []byte {
	if rest, ok := strings.CutPrefix(string(s), "whsec_"); ok {
		if key, err := base64.StdEncoding.DecodeString(rest); err == nil && len(key) > 0 {
			return key
		}
	}
	return []byte(s)
}

// None says that the mapping knows no way to authenticate: it maps files only.
func (a Authentication) None() bool { return a.hmac == nil && a.token == nil }

// NeedsBody says whether Check looks at the body: else a stranger is refused before it is read.
func (a Authentication) NeedsBody() bool { return a.hmac != nil }

// Check tells whether a request comes from someone who knows one of the secrets, of which an empty one fits nobody. body
// is as it came, byte for byte. It takes the same time whatever is wrong with the token or the signature.
func (a Authentication) Check(header http.Header, query url.Values, body []byte, secrets []Secret, now time.Time) bool {
	secrets = slices.DeleteFunc(slices.Clone(secrets), func(s Secret) bool { return s == "" })
	switch {
	case a.hmac != nil:
		return a.hmac.check(header, body, secrets, now)
	case a.token != nil:
		return a.token.check(header, query, secrets)
	}
	return false
}

func (t *token) check(header http.Header, query url.Values, secrets []Secret) bool {
	shown := query.Get(t.query)
	if t.header != "" {
		shown = header.Get(t.header)
	}
	if len(shown) < len(t.prefix) || !strings.EqualFold(shown[:len(t.prefix)], t.prefix) {
		return false
	}
	sum := sha256.Sum256([]byte(shown[len(t.prefix):]))
	found := 0
	for _, s := range secrets {
		want := sha256.Sum256([]byte(s))
		found |= subtle.ConstantTimeCompare(sum[:], want[:])
	}
	return found == 1
}

// maxSignatures bounds how many signatures a header may hold: there are several while a secret is replaced.
const maxSignatures = 10

func (s *signature) check(header http.Header, body []byte, secrets []Secret, now time.Time) bool {
	if s.timestamp != "" {
		seconds, err := strconv.ParseInt(header.Get(s.timestamp), 10, 64)
		if err != nil || time.Unix(seconds, 0).Sub(now).Abs() > s.tolerance {
			return false
		}
	}
	before, after, _ := strings.Cut(s.signed, "{body}")
	before, after = fill(before, header), fill(after, header)
	var given [][]byte
	for one := range strings.FieldsFuncSeq(header.Get(s.header), func(r rune) bool { return r == ' ' || r == ',' && s.prefix == "" }) {
		rest, ok := strings.CutPrefix(one, s.prefix)
		if !ok {
			continue
		}
		if sum, err := s.decode(rest); err == nil && len(given) < maxSignatures {
			given = append(given, sum)
		}
	}
	found := 0
	for _, secret := range secrets {
		mac := hmac.New(s.hash, secret.bytes())
		mac.Write([]byte(before))
		mac.Write(body)
		mac.Write([]byte(after))
		want := mac.Sum(nil)
		for _, sum := range given {
			found |= subtle.ConstantTimeCompare(sum, want)
		}
	}
	return found == 1
}

// fill puts headers into a template's {names}.
func fill(template string, header http.Header) string {
	var b strings.Builder
	for {
		before, rest, ok := strings.Cut(template, "{")
		b.WriteString(before)
		if !ok {
			return b.String()
		}
		name, after, ok := strings.Cut(rest, "}")
		if !ok {
			return b.String()
		}
		b.WriteString(header.Get(name))
		template = after
	}
}
