package normalize

import (
	"bytes"
	"encoding/json"
	"strings"

	"attune/pipeline/event"
	"attune/pipeline/vault"
)

// hasher stands in a keyed hash for a personal value.
type hasher interface {
	Hash(kind, value string) string
}

// separator splits objects into what may go on and what belongs into the vault.
type separator struct {
	names *vault.Names
	hash  hasher
}

func newSeparator(hash hasher) *separator { return &separator{names: vault.NewNames(), hash: hash} }

// split returns the object with hashes in place of its personal fields, nested ones too, and adds those to
// fields. In traits, `name` is the customer's; elsewhere it is a product's or a page's.
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
	o.Fields(func(name string, v event.Value) bool {
		if !first {
			b.WriteByte(',')
		}
		first = false
		quote(b, name)
		b.WriteByte(':')
		_, flag := v.Bool() // whether there is a phone number is no phone number
		if field, personal := s.names.Personal(name, traits); personal && !v.Null() && !flag {
			within := name[:strings.LastIndexByte(name, '.')+1]
			fields[path+within+field] = vault.Field{Value: json.RawMessage(bytes.Clone(v.Raw())), At: at}
			b.WriteString(`"hash:` + s.hash.Hash(field, v.String()) + `"`)
			return true
		}
		s.value(b, v, at, fields, path+name+".")
		return true
	})
	b.WriteByte('}')
}

func (s *separator) value(b *bytes.Buffer, v event.Value, at event.Instant, fields map[string]vault.Field, path string) {
	if o, ok := v.Object(); ok {
		s.object(b, o, false, at, fields, path)
		return
	}
	if raw := v.Raw(); raw[0] != '[' {
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
		s.value(b, item, at, fields, path)
		return true
	})
	b.WriteByte(']')
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

// user is the user id as it goes on: an id that is itself an address is personal.
func (s *separator) user(id string) string {
	if strings.Contains(id, "@") {
		return "hash:" + s.hash.Hash("email", id)
	}
	return id
}
