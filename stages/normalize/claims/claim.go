// Package claims remembers which call owns an event id, for as many ids as a month brings.
//
// Claims are a log: one message of the stream DUPLICATES holds what a batch of calls claims, and the first claim of an id
// in the log owns it, whoever wrote it. So many writers need no locks and no compare-and-set: each appends, reads on to
// where its own message was stored, and knows. A repeat of the same call after a crash finds its own claim and with it
// the profile that it went to.
//
// Every reader keeps an index of the whole log in memory: 24 bytes an id, in tables that are between three eighths and
// three quarters full, without pointers. What a claim says beyond that is read from the log when its id comes again. To
// the broker the log is few large messages on one subject, where a key for each id would cost it some hundred bytes of
// memory each.
//
// An id is remembered for topology's DuplicatesAge, and at most an eighth longer.
package claims

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
)

// Key stands for an event id, whatever characters it has: the first 128 bits of its SHA-256.
type Key struct{ high, low uint64 }

// KeyOf is an id's key.
func KeyOf(id string) Key {
	sum := sha256.Sum256([]byte(id))
	return Key{binary.BigEndian.Uint64(sum[:]), binary.BigEndian.Uint64(sum[8:])}
}

// Claim says that a call owns an event id.
type Claim struct {
	Key         Key
	Owner       string // the call; up to 255 bytes
	Profile     string // that its event went to; up to 255 bytes
	Fingerprint uint64 // of the call's content
}

// version is the first byte of a message.
const version = 1

var errCut = errors.New("it is cut off")

// encode writes claims one after another.
func encode(claims []Claim) []byte {
	data := make([]byte, 1, 1+64*len(claims))
	data[0] = version
	for i := range claims {
		c := &claims[i]
		data = binary.BigEndian.AppendUint64(data, c.Key.high)
		data = binary.BigEndian.AppendUint64(data, c.Key.low)
		data = binary.BigEndian.AppendUint64(data, c.Fingerprint)
		for _, text := range []string{c.Owner, c.Profile} {
			data = append(append(data, byte(len(text))), text...)
		}
	}
	return data
}

// decode reads a message's claims.
func decode(data []byte) ([]Claim, error) {
	if len(data) == 0 || data[0] != version {
		return nil, fmt.Errorf("decode claims: want version %d", version)
	}
	claims := make([]Claim, 0, len(data)/64+1)
	for data = data[1:]; len(data) > 0; {
		if len(data) < 24 {
			return nil, fmt.Errorf("decode claim %d: %w", len(claims), errCut)
		}
		c := Claim{
			Key:         Key{binary.BigEndian.Uint64(data), binary.BigEndian.Uint64(data[8:])},
			Fingerprint: binary.BigEndian.Uint64(data[16:]),
		}
		data = data[24:]
		for _, text := range []*string{&c.Owner, &c.Profile} {
			if len(data) == 0 || len(data) < 1+int(data[0]) {
				return nil, fmt.Errorf("decode claim %d: %w", len(claims), errCut)
			}
			*text, data = string(data[1:1+int(data[0])]), data[1+int(data[0]):]
		}
		claims = append(claims, c)
	}
	return claims, nil
}
