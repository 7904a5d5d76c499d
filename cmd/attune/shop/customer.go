package shop

// answer is what a customer said when asked for consent to email.
type answer int

const (
	silent answer = iota // never asked, or left it open
	yes
	no
)

// customer is one person. The shop forgets those who never say who they are, and old ones when there are too many.
type customer struct {
	anonymous string // this device's id
	user      string // "" until signed up
	signedIn  bool   // on this device
	traits    traits
	consent   answer
	favourite string // category

	cart   string // "" while empty
	lines  []line
	left   float64 // virtual second at which the last visit ended
	inside bool    // is visiting now

	locale, timezone, ip, agent string
}

// action is what a customer does in one step: each is one call.
type action int

const (
	seePage action = iota
	seeList
	seeProduct
	signUp      // says who they are, for the first time
	signIn      // says it again on another device
	subscribe   // says yes to email, and who they are
	unsubscribe // takes it back
	addToCart
	checkOut
	order
)

// step is one action and what it is done with.
type step struct {
	action  action
	path    string  // seePage
	product product // seeProduct, addToCart; seeList uses its category
	number  int     // addToCart: how many
	consent answer  // signUp
}

// pause is how long a customer thinks before a step: least and most, in seconds. From the first product in a cart
// to the order these sum up to less than 20 s, with two products and a sign-up in between.
func (a action) pause() (least, most float64) {
	switch a {
	case seeProduct:
		return 2, 6
	case addToCart:
		return 1, 2
	case signUp, signIn, subscribe, unsubscribe:
		return 1, 3
	case checkOut:
		return 1.5, 3
	case order:
		return 2, 4
	default:
		return 1, 3
	}
}

// visit is one customer's way through the shop, planned when they come.
type visit struct {
	customer *customer
	steps    []step // those still to come
	due      float64
	brisk    bool // scripted: a second between the steps
}
