// Package drift tells whether what arrives is still what a model was made from, and whether anything arrives at all. It is
// pure mathematics: no clock, no I/O, no randomness.
//
//   - Reference and its PSI: whether values are distributed as they were.
//   - PageHinkley: whether the mean of a stream, such as a model's log loss, has moved.
//   - Calibration: whether probabilities say how often something happens.
//   - Volume: whether a day's count is one of its kind.
//   - NullRate: whether a field is missing more or less often than it was.
//
// Each tells a value, the threshold that it was held against, and whether it is an alarm. The thresholds are meant for
// alarms that wake somebody: what can be chance, with as few values as there are, is none.
package drift
