package normalize

import (
	"bytes"
	"encoding/json"
	"strings"

	"attune/pipeline/event"
	"attune/pipeline/normal"
	"attune/pipeline/vault"
)

// hasher stands in a keyed hash for a personal value.
type hasher interface {
	Hash(kind, value string) string
}

// separator splits objects into what may go on and what belongs into the vault. One goroutine uses it; the others take
// its copies.
type separator struct {
	names *vault.Names
	forms *normal.Forms
	hash  hasher
	own   *separator // of what Attune itself says of a delivery, whose fields nobody has to declare
	// known are the fields that came lately, elsewhere and in traits: producers have few names.
	known [2]map[string]treatment
}

// treatment is what a field's name decides.
type treatment struct {
	key      string // as JSON, with its colon
	name     string
	within   string // the part of a dotted name before the field
	field    string // as the vault calls it
	personal bool
	person   bool // an object of this name is a person
	open     bool // the installation says that nothing in it is personal
	withheld bool // nobody declared it: the name may be a person's too
	formed   bool // its values may have a normal form
}

// Bounds of what a separator remembers of names.
const (
	maxKnown     = 2000
	maxKnownName = 64
)

// newSeparator takes what the installation declares, and the country of phone numbers without country code; empty: none.
func newSeparator(hash hasher, declared vault.Declared, region string) *separator {
	s := &separator{names: vault.NewNames(declared), forms: normal.New(region), hash: hash}
	declared.Strict = false
	s.own = &separator{names: vault.NewNames(declared), forms: s.forms, hash: hash}
	return s
}

// copy is the separator for another goroutine.
func (s *separator) copy() *separator {
	return &separator{names: s.names, forms: s.forms, hash: s.hash, own: &separator{names: s.own.names, forms: s.forms, hash: s.hash}}
}

// treat tells what becomes of a field.
func (s *separator) treat(name []byte, traits bool) treatment {
	known := &s.known[0]
	if traits {
		known = &s.known[1]
	}
	if t, ok := (*known)[string(name)]; ok {
		return t
	}
	t := treatment{name: string(name)}
	t.field, t.personal = s.names.Personal(t.name, traits)
	t.within = t.name[:strings.LastIndexByte(t.name, '.')+1]
	t.withheld, t.formed = s.names.Withheld(t.name), normal.HasForm(t.name)
	t.person, t.open = vault.IsPerson(t.name), s.names.Open(t.name)
	var b bytes.Buffer
	quote(&b, s.within(t.name))
	t.key = b.String() + ":"
	if *known == nil || len(*known) == maxKnown {
		*known = map[string]treatment{}
	}
	if len(name) <= maxKnownName {
		(*known)[t.name] = t
	}
	return t
}

// split returns the object with hashes in place of its personal fields, nested ones too, and adds those to
// fields. In traits and in people, `name` is theirs; elsewhere it is a product's or a page's.
func (s *separator) split(o event.Object, traits bool, at event.Instant, fields map[string]vault.Field, path string) event.Object {
	if o == nil {
		return nil
	}
	var b bytes.Buffer
	b.Grow(len(o))
	s.object(&b, o, traits, at, fields, path)
	return event.Object(b.Bytes())
}

func (s *separator) object(b *bytes.Buffer, o event.Object, traits bool, at event.Instant, fields map[string]vault.Field, path string) {
	b.WriteByte('{')
	first := true
	o.Visit(func(name []byte, v event.Value) {
		t := s.treat(name, traits)
		hash := ""
		_, flag := v.Bool() // whether there is a phone number is no phone number
		if t.personal && !v.Null() && !flag {
			value, text := s.normal(t.field, v)
			fields[path+t.within+t.field] = vault.Field{Value: value, At: at}
			hash = s.hash.Hash(t.field, text)
		}
		if t.withheld {
			return
		}
		if !first {
			b.WriteByte(',')
		}
		first = false
		b.WriteString(t.key)
		if hash != "" {
			b.WriteString(`"hash:`)
			b.WriteString(hash)
			b.WriteByte('"')
			return
		}
		if t.formed {
			text, _ := v.Text()
			if form, other := s.forms.Plain(t.name, text); other {
				quote(b, form)
				return
			}
		}
		s.value(b, v, &t, at, fields, path)
	})
	b.WriteByte('}')
}

// value writes what a field holds that is not personal by its name.
func (s *separator) value(b *bytes.Buffer, v event.Value, t *treatment, at event.Instant, fields map[string]vault.Field, path string) {
	switch raw := v.Raw(); {
	case raw[0] == '{':
		o, _ := v.Object()
		s.object(b, o, t.person, at, fields, path+t.name+".")
		return
	case raw[0] == '"' && !t.open && mayHoldAddress(raw):
		text, _ := v.Text()
		if normal.IsAddress(text) {
			value, address := s.normal("email", v)
			fields[path+t.name] = vault.Field{Value: value, At: at}
			b.WriteString(`"` + s.address(address) + `"`)
			return
		}
		if text, found := normal.WithoutAddresses(text, s.address); found {
			quote(b, text)
			return
		}
		b.Write(raw)
		return
	case raw[0] != '[':
		b.Write(raw)
		return
	}
	b.WriteByte('[')
	first := true
	v.Items(func(item event.Value) bool {
		if !first {
			b.WriteByte(',')
		}
		first = false
		s.value(b, item, t, at, fields, path)
		return true
	})
	b.WriteByte(']')
}

// mayHoldAddress tells, of a string as JSON, whether it is worth a closer look: most have no @, which may be escaped, by
// JSON and by URLs.
func mayHoldAddress(raw []byte) bool {
	return bytes.IndexByte(raw, '@') >= 0 || bytes.IndexByte(raw, '%') >= 0 || bytes.IndexByte(raw, '\\') >= 0
}

// address is what goes on of an address in its normal form.
func (s *separator) address(normal string) string { return "hash:" + s.hash.Hash("email", normal) }

// normal is a personal value for the vault, and as the text that is hashed: in its normal form where it has one, so
// that two spellings of an address are one customer's.
func (s *separator) normal(field string, v event.Value) (value json.RawMessage, text string) {
	text = v.String()
	if raw := v.Raw(); raw[0] != '{' && raw[0] != '[' {
		if form, ok := s.forms.Personal(field, text); ok {
			var b bytes.Buffer
			quote(&b, form)
			return b.Bytes(), form
		}
	}
	return json.RawMessage(bytes.Clone(v.Raw())), text
}

// quote writes a name as JSON.
func quote(b *bytes.Buffer, name string) {
	for i := range len(name) {
		if c := name[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			quoted, _ := json.Marshal(name) // a string always can be
			b.Write(quoted)
			return
		}
	}
	b.WriteString(`"` + name + `"`)
}

// user is the user id as it goes on: an id that is itself an address, or a phone number with its country code, is
// personal.
func (s *separator) user(id string) string {
	if strings.Contains(id, "@") {
		address, _ := normal.Email(id)
		return s.address(address)
	}
	if strings.HasPrefix(id, "+") {
		if number, ok := s.forms.Phone(id, ""); ok {
			return "hash:" + s.hash.Hash("phone", number)
		}
	}
	return id
}

// title is an event's or a page's name as it goes on.
func (s *separator) title(name string) string {
	if normal.IsAddress(name) {
		return s.user(name)
	}
	return s.within(name)
}

// within is a text without the addresses in it.
func (s *separator) within(text string) string {
	text, _ = normal.WithoutAddresses(text, s.address)
	return text
}
