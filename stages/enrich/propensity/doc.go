// Package propensity learns how likely it is that a customer does something within a horizon, and scores it.
//
// The model is a logistic regression over bins: each column has fine bins (20 or so of equal size, or one a value) and
// coarse ones, and those pairs of columns whose coarse bins together tell more than apart have bins of their own. Weights
// are learned by FTRL-proximal, which keeps those without evidence at exactly zero; a calibration found on rows that were
// not learned from makes a score of 0.2 mean one in five. Each score has an interval.
//
// A row's label is known when it has matured: at the event, or when the horizon is over without one (see Maturing).
//
// It is pure, and scores have the same bits on every platform. Source of FTRL-proximal: McMahan et al.: Ad Click
// Prediction: a View from the Trenches, KDD 2013.
package propensity
