package shop

import "slices"

// opening is what the first customers do, so that soon after the start each kind of outcome can be seen: a cart left
// behind by a fan of sneakers, an order, a cart left at the checkout, and a cart left by someone who said no to email.
func (s *simulation) opening(n int) (steps []step, favourite string, scripted bool) {
	shelf := func(category string, i int) product { return s.products[category][i] }
	see := func(p product) step { return step{action: seeProduct, product: p} }
	add := func(p product) step { return step{action: addToCart, product: p, number: 1} }
	join := func(a answer) step { return step{action: signUp, consent: a} }
	home := step{action: seePage, path: "/"}
	switch n {
	case 0:
		fan := shelf("sneakers", 0)
		return []step{home, see(shelf("sneakers", 1)), see(fan), join(yes), add(fan)}, "sneakers", true
	case 1:
		boot := shelf("boots", 0)
		return []step{home, see(boot), join(yes), add(boot), {action: checkOut}, {action: order}}, "boots", true
	case 2:
		bag := shelf("bags", 1)
		return []step{home, see(bag), join(yes), add(bag), {action: checkOut}}, "bags", true
	case 3:
		jacket := shelf("jackets", 2)
		return []step{home, see(jacket), join(no), add(jacket)}, "jackets", true
	}
	return nil, "", false
}

// planNew is what somebody does who comes for the first time.
func (s *simulation) planNew(c *customer) []step {
	steps, seen := s.lookAround(c)
	switch roll := s.random.Float64(); {
	case roll < 0.28: // only looks
		return steps
	case roll < 0.40:
		return append(steps, step{action: subscribe})
	case roll < 0.70: // leaves a cart
		known := s.random.Float64()
		join := step{action: signUp, consent: s.ask(0.8, 0.1)}
		if known < 0.4 {
			steps = append(steps, join)
		}
		steps = append(steps, s.fill(seen)...)
		if known >= 0.4 && known < 0.75 {
			steps = append(steps, join, step{action: checkOut})
		}
		return steps
	default: // buys
		steps = append(steps, s.fill(seen)...)
		return append(steps, step{action: signUp, consent: s.ask(0.6, 0.15)}, step{action: checkOut}, step{action: order})
	}
}

// planReturn is what a known customer does who comes again.
func (s *simulation) planReturn(c *customer) []step {
	var first []step
	if !c.signedIn {
		first = []step{{action: seePage, path: "/login"}, {action: signIn}}
	}
	roll := s.random.Float64()
	switch {
	case c.cart != "" && (roll < 0.5 || len(c.lines) >= maxLines):
		return append(first, step{action: seePage, path: "/cart"}, step{action: checkOut}, step{action: order})
	case c.consent == yes && roll > 0.86:
		return append(first, step{action: seePage, path: "/account/emails"}, step{action: unsubscribe})
	case c.consent != yes && roll > 0.85:
		return append(first, step{action: seePage, path: "/account/emails"}, step{action: subscribe})
	}
	steps, seen := s.lookAround(c)
	switch roll := s.random.Float64(); {
	case roll < 0.4:
		return steps
	case roll < 0.7:
		return append(append(steps, first...), s.fill(seen)...)
	default:
		steps = append(append(steps, first...), s.fill(seen)...)
		return append(steps, step{action: checkOut}, step{action: order})
	}
}

// lookAround is a visit's beginning; seen are the different products looked at.
func (s *simulation) lookAround(c *customer) (steps []step, seen []product) {
	if s.random.Float64() < 0.6 {
		steps = append(steps, step{action: seePage, path: "/"})
	} else {
		steps = append(steps, step{action: seeList, product: product{Category: c.favourite}})
	}
	for range 1 + s.random.IntN(4) {
		category := c.favourite
		if s.random.Float64() < 0.3 {
			category = pick(s, s.categories)
		}
		p := pick(s, s.products[category])
		steps = append(steps, step{action: seeProduct, product: p})
		if !slices.Contains(seen, p) {
			seen = append(seen, p)
		}
	}
	return steps, seen
}

// fill puts one or two of the products seen into the cart.
func (s *simulation) fill(seen []product) []step {
	var steps []step
	s.random.Shuffle(len(seen), func(i, j int) { seen[i], seen[j] = seen[j], seen[i] })
	for _, p := range seen[:min(len(seen), 1+s.random.IntN(2))] {
		number := 1
		if s.random.Float64() < 0.12 {
			number = 2
		}
		steps = append(steps, step{action: addToCart, product: p, number: number})
	}
	return steps
}

// ask is what somebody says to the consent box.
func (s *simulation) ask(likelyYes, likelyNo float64) answer {
	switch roll := s.random.Float64(); {
	case roll < likelyYes:
		return yes
	case roll < likelyYes+likelyNo:
		return no
	}
	return silent
}

func pick[T any](s *simulation, from []T) T { return from[s.random.IntN(len(from))] }
