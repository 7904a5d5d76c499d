// Package embedded runs the real engines on one machine: NATS with JetStream inside this process, and ClickHouse
// as a child process of the same binary, which loads libchdb without cgo.
//
// Both keep their data on disk in a folder of their own, listen on loopback only, and hold a lock on the folder
// for as long as they live. A program that may start ClickHouse calls [MaybeClickHouse] as the first statement
// of main (and a test binary as the first of TestMain).
//
// The engines run on Linux (glibc) and macOS, on amd64 and arm64; elsewhere everything compiles and the Start
// functions return [ErrUnsupported].
package embedded
