// Package config reads what a person writes: attune.yaml, which says how the program runs, and the workspace, the
// folder of segments, campaigns and templates that says what it does.
//
// Both are read strictly. An unknown key, a wrong kind, a name that nothing is called by is a problem with its
// file, line and column and a hint how to mend it; all of them are told at once. See [Problems].
package config

import "attune/config/document"

// Problem is one mistake with its place.
type Problem = document.Problem

// Problems are all mistakes that were found, sorted by place. As an error they print one line each, as compilers
// do.
type Problems = document.Problems
