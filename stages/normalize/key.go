package normalize

import (
	"strings"

	"attune/pipeline/normal"
)

// UserKey is the key of topology.Identities under which a producer's user id has its profile. An id that is an e-mail
// address takes the normal form of one: in whatever case it is written, it is one customer's.
func UserKey(hash interface {
	Hash(kind, value string) string
}, id string) string {
	if strings.Contains(id, "@") {
		id, _ = normal.Email(id)
	}
	return "u." + hash.Hash("user", id)
}

// ProfileOf is the profile to which a value of such a key leads. It may have gone on in another one since.
func ProfileOf(value []byte) string { return profileAt(string(value)) }

// AnonymousKey is the same for an anonymous id.
func AnonymousKey(hash interface {
	Hash(kind, value string) string
}, id string) string {
	return "a." + hash.Hash("anonymous", id)
}
