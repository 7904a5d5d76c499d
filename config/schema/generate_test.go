package schema_test

import (
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/jsonschema-go/jsonschema"

	"attune/config"
	"attune/config/document"
	"attune/config/scenario"
	"attune/stages/segment"
	"attune/stages/trigger"
)

// root is the module's folder, whose sources hold the doc comments that become descriptions.
const root = "../.."

// kinds are the files that have a schema: the type they are read into, with its defaults.
func kinds() map[string]struct {
	title string
	value any
} {
	return map[string]struct {
		title string
		value any
	}{
		"attune":    {"attune.yaml: how Attune runs", config.Default()},
		"workspace": {"workspace.yaml", config.WorkspaceSettings{}},
		"segment":   {"segments/<id>.yaml: who is in a group", segment.Definition{}},
		"campaign":  {"campaigns/<id>.yaml: which mail is sent when", trigger.Campaign{}},
		"scenario":  {"tests/<name>.scenario.yaml: what must be true", scenario.File{}},
	}
}

// required are the keys that must be given, by type.
func required() map[reflect.Type][]string {
	return map[reflect.Type][]string{
		reflect.TypeFor[config.WorkspaceSettings](): {"name"},
		reflect.TypeFor[segment.Definition]():       {"id", "when"},
		reflect.TypeFor[trigger.Campaign]():         {"id", "on", "send"},
		reflect.TypeFor[trigger.Unless]():           {"event"},
		reflect.TypeFor[trigger.Cap]():              {"per", "max"},
		reflect.TypeFor[trigger.Recommend]():        {"count"},
		reflect.TypeFor[trigger.Send]():             {"destination", "from", "subject", "template"},
		reflect.TypeFor[scenario.File]():            {"steps"},
		reflect.TypeFor[scenario.Step]():            {"at"},
		reflect.TypeFor[scenario.Track]():           {"event"},
		reflect.TypeFor[scenario.Delivery]():        {"user", "campaign"},
		reflect.TypeFor[scenario.Decision]():        {"user", "campaign", "outcome"},
	}
}

// words are the values that a text may have, by type and key.
func words() map[string][]any {
	return map[string][]any{
		"Log.format":       {"text", "json"},
		"Log.level":        {"debug", "info", "warn", "error"},
		"Cap.per":          {"day"},
		"Recommend.bought": {"skip", "again"},
		"Decision.outcome": {"fired", "held", "suppressed"},
		"Config.tls":       {"none", "starttls", "mandatory", "implicit"},
	}
}

// further are descriptions of fields that one comment describes together, or that speak for themselves in Go.
func further() map[string]string {
	return map[string]string{
		"On.SegmentEntered":    "The id of a segment: triggers when a customer enters it.",
		"On.SegmentExited":     "The id of a segment: triggers when a customer leaves it.",
		"On.Event":             "event is the name of a track event, such as Product Added; page:NAME and screen:NAME are pages and screens.",
		"Cap.Per":              "day: any 24 hours.",
		"Cap.Max":              "The most mails of this campaign that one customer gets in that time, 1 to 100.",
		"Send.Subject":         "The subject, one line; a template as well.",
		"Send.From":            "The sender's address, with or without a name: Shop <hi@shop.example>.",
		"Definition.When":      "The rule that says who is in it.",
		"Unless.Event":         "The name of the event that cancels the wait.",
		"Send.Destination":     "The name of a destination in attune.yaml.",
		"Send.Template":        "The name of a template: cart is templates/cart.html.",
		"Config.BatchInterval": "How long after the batch before it a batch is full, once that is written; after a pause, a full batch, or one that waited for longer than that, a tenth of that after its first commit. 10ms to 1m, default 1s.",
		"Delivery.User":        "The customer's user id.",
		"Delivery.Campaign":    "The campaign's id.",
		"Delivery.Destination": "The destination's name.",
		"Delivery.Template":    "The template's name.",
		"Decision.User":        "The customer's user id.",
		"Decision.Campaign":    "The campaign's id.",
	}
}

// generator makes schemas of types by their yaml tags.
type generator struct {
	t     *testing.T
	files map[string]map[string]string // doc comments by package path, by "Type" and "Type.Field"
}

func (g *generator) schema(title string, value any) *jsonschema.Schema {
	s := g.of(reflect.ValueOf(value))
	s.Schema, s.Title = "https://json-schema.org/draft/2020-12/schema", title
	return s
}

func (g *generator) of(v reflect.Value) *jsonschema.Schema {
	t := v.Type()
	switch t {
	case reflect.TypeFor[time.Duration]():
		return &jsonschema.Schema{Type: "string", Pattern: `^([0-9.]+w)?([0-9.]+d)?([0-9.]+h)?([0-9.]+m)?([0-9.]+s)?([0-9.]+ms)?$`}
	case reflect.TypeFor[trigger.Duration]():
		zero := any(0)
		return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{{Type: "string", Pattern: trigger.DurationPattern}, {Const: &zero}}}
	}
	switch t.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			return g.of(reflect.New(t.Elem()).Elem())
		}
		return g.of(v.Elem())
	case reflect.Struct:
		return g.object(v)
	case reflect.Map:
		return &jsonschema.Schema{Type: "object", AdditionalProperties: g.of(reflect.New(t.Elem()).Elem())}
	case reflect.Slice:
		return &jsonschema.Schema{Type: "array", Items: g.of(reflect.New(t.Elem()).Elem())}
	case reflect.Interface:
		return &jsonschema.Schema{}
	case reflect.String:
		return &jsonschema.Schema{Type: "string"}
	case reflect.Bool:
		return &jsonschema.Schema{Type: "boolean"}
	case reflect.Float64:
		return &jsonschema.Schema{Type: "number"}
	case reflect.Int, reflect.Int64, reflect.Int32, reflect.Uint, reflect.Uint64:
		return &jsonschema.Schema{Type: "integer"}
	}
	g.t.Fatalf("no schema for %s", t)
	return nil
}

func (g *generator) object(v reflect.Value) *jsonschema.Schema {
	t := v.Type()
	s := &jsonschema.Schema{
		Type: "object", Properties: map[string]*jsonschema.Schema{}, Required: required()[t],
		AdditionalProperties: &jsonschema.Schema{Not: &jsonschema.Schema{}},
	}
	for _, f := range reflect.VisibleFields(t) {
		key, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if !f.IsExported() || key == "" || key == "-" {
			continue
		}
		value := v.FieldByIndex(f.Index)
		if s, ok := v.Interface().(document.Starter); ok && value.Kind() == reflect.Pointer && value.IsNil() {
			if start := s.Start(key); start != nil {
				value = reflect.ValueOf(start)
			}
		}
		field := g.of(value)
		owner := t
		for _, i := range f.Index[:len(f.Index)-1] {
			owner = owner.Field(i).Type
		}
		field.Description = g.doc(owner, f.Name)
		field.Enum = words()[t.Name()+"."+key]
		if !value.IsZero() && isScalar(value) {
			field.Default = g.json(value)
		}
		s.Properties[key] = field
		s.PropertyOrder = append(s.PropertyOrder, key)
	}
	return s
}

func isScalar(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.String, reflect.Bool, reflect.Float64, reflect.Int, reflect.Int64, reflect.Uint64:
		return true
	}
	return false
}

func (g *generator) json(v reflect.Value) json.RawMessage {
	value := v.Interface()
	if d, ok := value.(time.Duration); ok {
		value = strings.TrimSuffix(strings.TrimSuffix(d.String(), "0s"), "0m")
		if d < time.Minute || d%time.Minute != 0 {
			value = d.String()
		}
	}
	data, err := json.Marshal(value)
	if err != nil {
		g.t.Fatal(err)
	}
	return data
}

// doc is the comment of a struct's field, from its source.
func (g *generator) doc(t reflect.Type, field string) string {
	docs, ok := g.files[t.PkgPath()]
	if !ok {
		docs = g.parse(t.PkgPath())
		g.files[t.PkgPath()] = docs
	}
	name := t.Name() + "." + field
	text := further()[name]
	if text == "" {
		text = docs[name]
	}
	if f, ok := t.FieldByName(field); ok && text == "" { // a part is described by its type
		part := f.Type
		if part.Kind() == reflect.Pointer {
			part = part.Elem()
		}
		if part.Kind() == reflect.Struct && part.PkgPath() == t.PkgPath() {
			text = docs[part.Name()]
		}
	}
	if text == "" {
		g.t.Errorf("%s.%s.%s has no doc comment: it is the description in editors", t.PkgPath(), t.Name(), field)
	}
	return inYAML(t, field, text)
}

// inYAML says a comment in the words of the file: keys in place of the names that the fields have in Go.
func inYAML(t reflect.Type, field, text string) string {
	for _, f := range reflect.VisibleFields(t) {
		key, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if key == "" {
			continue
		}
		if f.Name == field {
			if rest, ok := strings.CutPrefix(text, f.Name+" "); ok {
				text = key + " " + rest
			}
		}
		if strings.Contains(key, "_") { // a name of one word could be any word
			text = regexp.MustCompile(`\b`+f.Name+`\b`).ReplaceAllString(text, key)
		}
	}
	return text
}

var space = regexp.MustCompile(`\s+`)

func (g *generator) parse(pkg string) map[string]string {
	docs := map[string]string{}
	sources, err := filepath.Glob(filepath.Join(root, strings.TrimPrefix(pkg, "attune/"), "*.go"))
	if err != nil || len(sources) == 0 {
		g.t.Fatalf("no sources of %s: %v", pkg, err)
	}
	for _, source := range sources {
		if strings.HasSuffix(source, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), source, nil, parser.ParseComments)
		if err != nil {
			g.t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if decl, ok := n.(*ast.GenDecl); ok && len(decl.Specs) == 1 {
				if spec, ok := decl.Specs[0].(*ast.TypeSpec); ok {
					docs[spec.Name.Name] = strings.TrimSpace(space.ReplaceAllString(decl.Doc.Text(), " "))
				}
			}
			spec, ok := n.(*ast.TypeSpec)
			if !ok {
				return true
			}
			structure, ok := spec.Type.(*ast.StructType)
			if !ok {
				return true
			}
			for _, f := range structure.Fields.List {
				text := f.Doc.Text()
				if text == "" {
					text = f.Comment.Text()
				}
				for _, name := range f.Names {
					docs[fmt.Sprintf("%s.%s", spec.Name.Name, name.Name)] = strings.TrimSpace(space.ReplaceAllString(text, " "))
				}
			}
			return true
		})
	}
	return docs
}
