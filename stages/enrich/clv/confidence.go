package clv

// Confidence is how far the customer's own value is known, 0 to 1: the square of its mean as a share of its mean square,
// where the value is what someone with their rate of purchases and their mean spend brings, and nothing if they have left.
// So 1 is certainty, and the relative standard deviation of the value is sqrt(1/Confidence - 1).
//
// By all models of counts the rate of who is alive is gamma distributed with shape k = r+x (Schmittlein, Morrison,
// Colombo: Counting Your Customers, Management Science 33, 1987; Fader, Hardie, Lee: Counting Your Customers the Easy Way,
// Marketing Science 24, 2005): its share is k/(k+1). The mean spend goes with the inverse of a rate that is gamma
// distributed with shape q+px (Fader, Hardie: The Gamma-Gamma Model of Monetary Value, 2013), whose moments leave
// (q+px-2)/(q+px-1), and nothing where there is no second moment. Whether they are alive leaves P(alive). The three are
// independent, so the shares multiply.
//
// alive is Alive of the same purchases. How the chance to leave differs between customers, and how far the parameters are
// known, is not in it: Outlook tells that, in a hundred times the time.
func (m Model) Confidence(p Purchases, alive float64) float64 {
	p = p.bounded()
	k := clamp(m.Counts.Parameters()[0], minParameter, maxParameter) + p.Repeats
	q, _ := m.Spend.bounded().posterior(p)
	return clamp(alive, 0, 1) * (k / (k + 1)) * (max(q-2, 0) / (q - 1))
}
