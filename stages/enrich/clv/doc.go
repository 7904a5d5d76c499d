// Package clv estimates what a customer will still buy and what that is worth, from four numbers about the past.
// It is pure mathematics: no clock, no I/O, no randomness; scores allocate nothing.
//
// Purchases come from MBG/NBD, BG/NBD or Pareto/NBD, the spend of a purchase from Gamma-Gamma; Model joins them to
// money, and its Outlook tells with each score how far it can be trusted. The parameters come from clv/fit.
// Time is in weeks, as in the papers; spend is in whole units of one currency (dollars, not cents).
//
// Sources:
//   - Fader, Hardie, Lee: "Counting Your Customers" the Easy Way: An Alternative to the Pareto/NBD Model,
//     Marketing Science 24 (2005): BG/NBD, P(alive), conditional expectation.
//   - Batislam, Denizel, Filiztekin: Empirical Validation and Comparison of Models for Customer Base Analysis,
//     International Journal of Research in Marketing 24 (2007): MBG/NBD.
//   - Schmittlein, Morrison, Colombo: Counting Your Customers: Who Are They and What Will They Do Next?, Management
//     Science 33 (1987), and Fader, Hardie: A Note on Deriving the Pareto/NBD Model (2005): Pareto/NBD.
//   - Fader, Hardie: The Gamma-Gamma Model of Monetary Value (note 025, 2013), after Fader, Hardie, Lee: RFM and CLV,
//     Journal of Marketing Research 42 (2005): spend per purchase; the discount rate in continuous time.
//
// # Numbers that repeat
//
// The same input gives the same bits on every platform: products are rounded before they are added (no fused
// multiply-add) and the exponential and the logarithm are those of package portable. Outlook, AtLeast and Median are not
// part of that promise: nothing is decided by them. The functions never return NaN or an infinity: input outside the
// stated ranges is taken as the nearest bound.
package clv
