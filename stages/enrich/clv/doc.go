// Package clv estimates what a customer will still buy and what that is worth, from four numbers about the past.
// It is pure mathematics: no clock, no I/O, no randomness, no allocation.
//
// Purchases come from BG/NBD (or MBG/NBD), the spend of a purchase from Gamma-Gamma; Model joins them to money.
// Time is in weeks, as in the papers; spend is in whole units of one currency (dollars, not cents).
//
// Sources:
//   - Fader, Hardie, Lee: "Counting Your Customers" the Easy Way: An Alternative to the Pareto/NBD Model,
//     Marketing Science 24 (2005): BG/NBD, P(alive), conditional expectation.
//   - Batislam, Denizel, Filiztekin: Empirical Validation and Comparison of Models for Customer Base Analysis,
//     International Journal of Research in Marketing 24 (2007): MBG/NBD.
//   - Fader, Hardie: The Gamma-Gamma Model of Monetary Value (note 025, 2013), after Fader, Hardie, Lee: RFM and CLV,
//     Journal of Marketing Research 42 (2005): spend per purchase; the discount rate in continuous time.
//
// # Numbers that repeat
//
// The same input gives the same bits on every platform: products are rounded before they are added (no fused
// multiply-add) and the exponential and the logarithm are the package's own, since those of math differ in the last
// digit between processors. The functions never return NaN or an infinity: input outside the stated ranges is
// taken as the nearest bound.
package clv
