package ingest

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"strings"
)

// keyring knows the write keys. It compares digests, all of them, in constant time.
type keyring struct {
	names []string
	sums  [][sha256.Size]byte
}

func newKeyring(keys []WriteKey) keyring {
	var r keyring
	for _, k := range keys {
		r.names = append(r.names, k.Name)
		r.sums = append(r.sums, sha256.Sum256([]byte(k.Key)))
	}
	return r
}

// producer is the name of the producer whose key it is.
func (r keyring) producer(key string) (name string, known bool) {
	sum := sha256.Sum256([]byte(key))
	found := -1
	for i := range r.sums {
		found = subtle.ConstantTimeSelect(subtle.ConstantTimeCompare(sum[:], r.sums[i][:]), i, found)
	}
	if found < 0 {
		return "", false
	}
	return r.names[found], true
}

// basicKey is the write key in an Authorization header: Basic base64(key + ":"), where the colon may be missing.
// given is false when the header is absent, of another scheme, or empty inside: then the body's writeKey counts.
func basicKey(header string) (key string, given bool) {
	scheme, rest, _ := strings.Cut(strings.TrimSpace(header), " ")
	if !strings.EqualFold(scheme, "Basic") {
		return "", false
	}
	rest = strings.TrimRight(strings.TrimSpace(rest), "=")
	decoded, err := base64.RawStdEncoding.DecodeString(rest)
	if err != nil {
		return "", true // a header that is garbage names no key; it does not fall back to the body
	}
	key, _, _ = strings.Cut(string(decoded), ":")
	return key, key != ""
}
