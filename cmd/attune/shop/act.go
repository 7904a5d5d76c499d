package shop

import (
	"fmt"
	"slices"
	"strings"
)

// do carries out one step and says what a producer would send of it.
func (s *simulation) do(c *customer, st step) call {
	switch st.action {
	case seePage:
		out := s.call(c, "page")
		out.Name = pageName(st.path)
		out.Properties = map[string]any{"path": st.path, "title": out.Name}
		out.Context.Page = &page{Path: st.path}
		return out
	case seeList:
		return s.track(c, "Product List Viewed", "/"+st.product.Category, map[string]any{"category": st.product.Category})
	case seeProduct:
		return s.track(c, "Product Viewed", "/products/"+st.product.ID, productProperties(st.product))
	case signUp:
		s.introduce(c)
		return s.identify(c, st.consent)
	case signIn:
		c.signedIn = true
		return s.identify(c, silent)
	case subscribe:
		s.introduce(c)
		return s.identify(c, yes)
	case unsubscribe:
		c.consent = no
		return s.track(c, "Unsubscribed", "/account/emails", map[string]any{"channel": "email"})
	case addToCart:
		return s.add(c, st.product, st.number)
	case checkOut:
		return s.track(c, "Checkout Started", "/checkout", map[string]any{
			"cart_id": c.cart, "value": total(c.lines), "currency": currency, "products": slices.Clone(c.lines),
		})
	default:
		return s.order(c)
	}
}

func (s *simulation) call(c *customer, kind string) call {
	out := call{Type: kind, AnonymousID: c.anonymous, Context: callContext{
		Library: library{Name: "attune-shop"}, Locale: c.locale, Timezone: c.timezone, IP: c.ip, UserAgent: c.agent,
	}}
	if c.signedIn {
		out.UserID = c.user
	}
	return out
}

func (s *simulation) track(c *customer, event, path string, properties map[string]any) call {
	out := s.call(c, "track")
	out.Event, out.Properties = event, properties
	out.Context.Page = &page{Path: path}
	return out
}

func (s *simulation) identify(c *customer, said answer) call {
	out := s.call(c, "identify")
	t := c.traits
	out.Traits = &t
	if said != silent {
		c.consent = said
		out.Context.Consent = &consent{CategoryPreferences: map[string]bool{"email": said == yes}}
	}
	return out
}

// introduce makes a customer known, if they are not.
func (s *simulation) introduce(c *customer) {
	c.signedIn = true
	if c.user != "" {
		return
	}
	s.customers++
	first, last := pick(s, firstNames()), pick(s, lastNames())
	c.user = fmt.Sprintf("user-%s-%d", s.run, s.customers)
	c.traits = traits{
		FirstName: first, LastName: last, Plan: pick(s, []string{"free", "free", "free", "plus"}),
		Email: strings.ToLower(fmt.Sprintf("%s.%s%d@%s.example", first, last, s.customers, s.run)),
	}
	s.remember(c)
}

func (s *simulation) add(c *customer, p product, number int) call {
	if c.cart == "" {
		s.carts++
		c.cart = fmt.Sprintf("cart-%s-%d", s.run, s.carts)
	}
	if i := slices.IndexFunc(c.lines, func(l line) bool { return l.ID == p.ID }); i >= 0 {
		c.lines[i].Quantity += number
	} else {
		c.lines = append(c.lines, line{product: p, Quantity: number})
	}
	properties := productProperties(p)
	properties["cart_id"], properties["quantity"] = c.cart, number
	return s.track(c, "Product Added", "/products/"+p.ID, properties)
}

func (s *simulation) order(c *customer) call {
	s.orders++
	sum := total(c.lines)
	out := s.track(c, "Order Completed", "/thank-you", map[string]any{
		"order_id": fmt.Sprintf("order-%s-%d", s.run, s.orders), "cart_id": c.cart,
		"revenue": sum, "total": sum, "currency": currency, "products": c.lines,
	})
	c.cart, c.lines = "", nil
	return out
}

func productProperties(p product) map[string]any {
	return map[string]any{
		"product_id": p.ID, "name": p.Name, "category": p.Category, "brand": p.Brand, "price": p.Price, "currency": currency,
	}
}

func pageName(path string) string {
	switch path {
	case "/":
		return "Home"
	case "/cart":
		return "Cart"
	case "/login":
		return "Sign in"
	default:
		return "Email preferences"
	}
}
