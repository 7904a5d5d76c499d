//go:build !((linux || darwin) && (amd64 || arm64))

package embedded

// MaybeClickHouse does nothing on this system: [StartClickHouse] starts no child here.
func MaybeClickHouse() {}
