package normalize

// UserKey is the key of topology.Identities under which a producer's user id has its profile.
func UserKey(hash interface {
	Hash(kind, value string) string
}, id string) string {
	return "u." + hash.Hash("user", id)
}

// AnonymousKey is the same for an anonymous id.
func AnonymousKey(hash interface {
	Hash(kind, value string) string
}, id string) string {
	return "a." + hash.Hash("anonymous", id)
}
