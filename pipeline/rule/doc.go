// Package rule is the language in which a workspace asks about one customer: CEL text, parsed and type-checked
// with a closed set of functions and variables, then compiled to a small tree whose nodes answer (true or
// false, until when). It is pure: no I/O, no clock, and evaluation never runs CEL. docs/rules.md has the language,
// function by function.
//
// # How a rule is answered
//
// The compiler turns each comparison into atoms, and each look back into a [Leaf]: which events count, in which window,
// and how many of them have to be kept for the answer to be exact. A [LeafSet] records what the leaves keep in the
// profile's parts Windows (times) and Kept (amounts, values, sums). A window is half open: what occurred at ts counts in
// [ts, ts+w), so at ts+w exactly it no longer does. What will occur only after the customer's clock counts from its own
// instant on. What can't be answered exactly from a bounded part of what happened is refused by [Compiler.Compile],
// never approximated; where each event matters (sum and avg in a window, sequences) a rule is about the newest
// [MaxKept] events that match.
//
// # Many rules
//
// A [Set] asks many rules together and again only those whose answer a step may have changed; see there.
//
// # A new field of the customer
//
// A number has its name and its value in number.go, an instant in moment.go; everything else follows from there, as long
// as the value is a part of the profile that a shallow copy keeps (see profile.Before). A new function has its
// signature and its types in language.go, its arguments in operand.go or translate.go, and its answer in atom.go.
package rule
