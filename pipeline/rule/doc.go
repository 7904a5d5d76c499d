// Package rule is the language in which a workspace asks about one customer: CEL text, parsed and type-checked
// with a closed set of functions and variables, then compiled to a small tree whose nodes answer (true or
// false, until when). It is pure: no I/O, no clock, and evaluation never runs CEL.
//
//	did("Order Completed", "7d")                                 at least once in the window
//	count("Product Viewed", {"category": "sneakers"}, "24h") >= 2  how often in the window, against a constant
//	ever("Order Completed"), total("Product Viewed") > 10        of all time
//	consent("email")                                             granted; unknown is false
//	trait("plan") == "pro", trait("plan") in ["pro", "team"], has_trait("plan")
//	customer.clv > 20, customer.net_revenue >= customer.clv
//	in_segment("hot-sneaker-fans")                               where [WithSegments] allows it
//	event.name == "Product Added", event.properties.price > 50   where [WithEvent] allows it
//	&& || ! ( )
//
// # Windows
//
// A window is a whole number with its unit: s, m, h, d (24 h) or w (7 d), above zero and at most [MaxWindow].
// It is half open: what occurred at ts counts in [ts, ts+w), so at ts+w exactly it no longer does. What will
// occur only after the customer's clock counts from its own instant on. Events are track events, by name, and
// pages and screens as "page:NAME" and "screen:NAME"; a filter compares properties (dotted paths reach into nested objects) with constants, for equality.
//
// # Numbers
//
// customer.clv (expected net value) and customer.alive (0 to 1) are scores, steps that hold until the next
// computation; customer.orders and customer.refunds are counts; customer.revenue is what orders brought before
// refunds, customer.net_revenue after them. Money is in the currency's main unit.
//
// # What is absent
//
// A trait or property that is absent, or of another type than the constant it is compared with, is not equal
// to it and neither above nor below it: == < <= > >= and in are false, != is true.
//
// What can't be answered exactly is refused by [Compiler.Compile], never approximated.
package rule
