// Package fit finds the parameters of clv's models from a purchase log, and judges them by what happened after it.
//
// Parameters are those of the largest likelihood. Where that has no sound maximum (a parameter runs out of 0.001 to 1000,
// the search does not settle within its budget, or the likelihood does not bend), they are those of the largest posterior
// with a weak prior: each parameter's logarithm is normal around what shops typically have, with the standard deviation 3
// (a factor of 20). A Fit says which, and whether the forecasts had to be drawn to each customer's own rate (Tested).
//
// It is pure and its result the same for the same log in any order, on one platform.
package fit
