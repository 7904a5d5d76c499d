package config

import (
	"fmt"
	"slices"
	"strings"

	"attune/config/document"
	"attune/pipeline/rule"
	"attune/pipeline/vault"
	"attune/stages/trigger"
)

// fields knows which traits and properties an installation lets go on as they are.
type fields struct {
	declared vault.Declared
	names    *vault.Names
}

func newFields(declared vault.Declared) fields {
	return fields{declared, vault.NewNames(declared)}
}

// behind says what keeps a field, nested ones with dots, from going on as it is, and what can be done; empty: nothing does.
// A use that needs no value is served by a hash too.
func (f fields) behind(path string, trait, value bool) (message, hint string) {
	parts := strings.Split(path, ".")
	for i, name := range parts {
		if i > 0 {
			trait = vault.IsPerson(parts[i-1])
		}
		if f.names.Withheld(name) {
			return name + " stays behind by normalize.strict, so it is never there", fmt.Sprintf("if it says nothing personal, list %s in normalize.open_fields", name)
		}
		_, personal := f.names.Personal(name, trait)
		switch {
		case !personal:
		case i < len(parts)-1:
			return name + " is personal and goes to the vault as a whole, so " + path + " is never there", f.openly(name, trait)
		case value:
			return name + " is personal: there is only a hash in its place", f.openly(name, trait)
		}
	}
	return "", ""
}

// openly says how a personal field may be asked about.
func (f fields) openly(name string, trait bool) string {
	opened := f.declared
	opened.Open = append(slices.Clip(opened.Open), name)
	switch _, personal := vault.NewNames(opened).Personal(name, trait); {
	case !personal:
		return fmt.Sprintf("if it says nothing personal, list %s in normalize.open_fields", name)
	case slices.Contains(f.declared.Personal, name):
		return "normalize.personal_fields lists it; ask whether it is there, or for a field that is not personal"
	}
	return "ask whether it is there, or let producers send what is not personal under another name"
}

// mentions tells which fields a rule asks for that stay behind, where they stand in the file.
func (c *check) mentions(doc *document.Document, field, text string, r *rule.Rule) {
	for _, m := range r.Mentions() {
		if message, hint := c.fields.behind(m.Path, m.Trait, m.Value); message != "" {
			c.add(c.inRule(doc, field, text, &rule.Error{Line: m.Line, Column: m.Column, Message: message, Hint: hint}))
		}
	}
}

// campaignFields tells which fields a campaign asks for that stay behind. Its rules must compile.
func (c *check) campaignFields(doc *document.Document, one trigger.Campaign) {
	for _, asked := range [][2]string{{"on.where", one.On.Where}, {"audience", one.Audience}} {
		if asked[1] == "" {
			continue
		}
		if r, err := c.compiler.Compile(asked[1], rule.WithEvent(), rule.WithSegments(c.segments)); err == nil { // else it is told already
			c.mentions(doc, asked[0], asked[1], r)
		}
	}
	if one.Key == "" {
		return
	}
	if message, hint := c.fields.behind(one.Key, false, false); message != "" { // a hash tells occasions apart as well
		c.add(doc.Problem("key", one.Key, message, hint))
	}
}

// shown says why a mail can't show what a template names, such as customer.traits.email; empty: it can.
func (f fields) shown(name []string) (message, hint string) {
	if len(name) < 3 {
		return "", ""
	}
	trait := name[0] == "customer" && name[1] == "traits"
	if !trait && (name[0] != "event" || name[1] != "properties") {
		return "", ""
	}
	message, hint = f.behind(strings.Join(name[2:], "."), trait, true)
	if field, personal := f.names.Personal(name[2], trait); personal && message != "" {
		switch {
		case slices.Contains(f.personal(), field) && trait:
			hint = "mails have it from the vault: write customer." + strings.Join(append([]string{field}, name[3:]...), ".")
		case slices.Contains(f.personal(), field):
			hint = "mails have what the customer's traits say from the vault: customer." + field
		case trait && !slices.Contains(vault.NewNames(vault.Declared{}).Plain(), field):
			hint = fmt.Sprintf("list %s in normalize.personal_fields, and mails have it from the vault as customer.%[1]s", name[2])
		}
	}
	return message, hint
}

// personal are the fields that a mail's templates may show from the vault, as members of customer.
func (f fields) personal() []string {
	return append([]string{
		"email", "phone", "first_name", "last_name", "name", "username", "address", "street", "street_2",
		"shipping_address", "billing_address", "postal_code", "birthday", "avatar",
	}, f.declared.Personal...)
}
