package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"reflect"
	"slices"
	"strings"

	"attune/config/document"
)

// origin is who set a value.
type origin struct {
	file bool   // the file; else:
	name string // "ATTUNE_LISTEN", "--listen"
}

// Setting is one value from outside the file.
type Setting struct {
	Path  string // "listen", "ingest.write_keys", "destinations.mail.smtp.host"
	Value string // text as it is; for anything else, as YAML would have it: 30s, true, [a, b], {host: x}
	Name  string // who says so, for errors and Explain: "--listen", "attune dev"
}

// Sources are where a configuration comes from, each stronger than those before it: the defaults of the program,
// Defaults, the file, the environment, Flags.
type Sources struct {
	Defaults []Setting
	Path     string   // of attune.yaml; empty: none is read
	Env      []string // as os.Environ gives it
	Foreign  []string // names of ATTUNE_ variables that belong to someone else, such as a command's flags
	Flags    []Setting
}

// Load reads a configuration from a file and the environment; an empty path reads no file. The error is a
// [Problems] with everything that is wrong, or says why the file can't be read.
//
// A variable ATTUNE_NATS__URL sets nats.url: two underscores go one level deeper. With _FILE appended it names a
// file that holds the value, for secrets. A variable that sets nothing is a problem.
func Load(path string, env []string) (Config, error) { return Sources{Path: path, Env: env}.Load() }

// Load reads the configuration and checks it.
func (s Sources) Load() (Config, error) {
	c := Default()
	var ps Problems
	for _, setting := range s.Defaults {
		ps = append(ps, c.set(setting)...)
	}
	if s.Path != "" {
		data, err := os.ReadFile(s.Path)
		if errors.Is(err, fs.ErrNotExist) {
			return c, fmt.Errorf("config %s: there is no such file; `attune init` writes one: %w", s.Path, err)
		} else if err != nil {
			return c, fmt.Errorf("config %s: %w", s.Path, err)
		}
		doc, problems := document.Parse(s.Path, data)
		ps = append(ps, problems...)
		if doc == nil {
			return c, ps.Err()
		}
		c.file = doc
		ps = append(ps, doc.Decode(&c)...)
		c.walk(func(path string, _ reflect.Value) {
			if doc.Has(path) {
				c.origins[path] = origin{file: true}
			}
		})
	}
	ps = append(ps, c.environment(s.Env, append(otherVariables(), s.Foreign...))...)
	for _, setting := range s.Flags {
		ps = append(ps, c.set(setting)...)
	}
	if err := c.Validate(); err != nil {
		told := map[string]bool{} // what could not be read is not also out of range
		for _, p := range ps {
			told[p.Field] = true
		}
		var found Problems
		errors.As(err, &found)
		for _, p := range found {
			if !told[p.Field] {
				ps = append(ps, p)
			}
		}
	}
	return c, ps.Err()
}

// EnvPrefix begins every variable that sets something.
const EnvPrefix = "ATTUNE_"

// otherVariables begin with the prefix and set nothing in the configuration.
func otherVariables() []string {
	return []string{"ATTUNE_CHDB_LIBRARY", "ATTUNE_REQUIRE_CLICKHOUSE", "ATTUNE_CONFIG"}
}

func (c *Config) environment(env, foreign []string) Problems {
	var ps Problems
	sorted := slices.Sorted(slices.Values(env)) // the same order, and so the same outcome, on every machine
	for _, entry := range sorted {
		name, value, _ := strings.Cut(entry, "=")
		if !strings.HasPrefix(name, EnvPrefix) || slices.Contains(foreign, name) {
			continue
		}
		path := strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(name, EnvPrefix)), "__", ".")
		setting := Setting{Path: path, Value: value, Name: name}
		if !c.knows(path) {
			base, isFile := strings.CutSuffix(path, "_file")
			if !isFile || !c.knows(base) {
				ps = append(ps, Problem{File: "environment", Field: name, Message: "sets nothing", Hint: c.nearVariable(name, path)})
				continue
			}
			data, err := os.ReadFile(value)
			if err != nil {
				ps = append(ps, Problem{File: "environment", Field: name, Value: value, Message: err.Error(), Hint: "it must name a file that holds the value"})
				continue
			}
			if plain := strings.TrimSuffix(name, "_FILE") + "="; slices.ContainsFunc(env, func(e string) bool { return strings.HasPrefix(e, plain) }) {
				ps = append(ps, Problem{File: "environment", Field: name, Message: "is given beside " + strings.TrimSuffix(plain, "="), Hint: "give one of the two"})
				continue
			}
			setting.Path, setting.Value = base, strings.TrimRight(string(data), "\r\n")
		}
		ps = append(ps, c.set(setting)...)
	}
	return ps
}

// variables are the names of all variables that would set something now.
func (c *Config) variables() []string {
	names := otherVariables()
	c.walk(func(path string, _ reflect.Value) { names = append(names, variable(path)) })
	return names
}

// nearVariable is a hint towards the variable that was meant.
func (c *Config) nearVariable(name, path string) string {
	known := c.variables()
	if i := strings.LastIndexByte(path, '.'); i > 0 {
		reach(reflect.ValueOf(c).Elem(), strings.Split(path[:i], "."), false, func(v reflect.Value) {
			t := v.Type()
			if t.Kind() == reflect.Pointer {
				t = t.Elem()
			}
			if t.Kind() != reflect.Struct {
				return
			}
			for _, key := range document.Keys(t) {
				known = append(known, variable(path[:i]+"."+key))
			}
		})
	}
	return document.DidYouMean(name, known)
}

func variable(path string) string {
	return EnvPrefix + strings.ToUpper(strings.ReplaceAll(path, ".", "__"))
}

func (c *Config) knows(path string) bool {
	return reach(reflect.ValueOf(c).Elem(), strings.Split(path, "."), false, func(reflect.Value) {})
}

// set applies one setting from outside the file.
func (c *Config) set(s Setting) Problems {
	var ps Problems
	known := reach(reflect.ValueOf(c).Elem(), strings.Split(s.Path, "."), true, func(v reflect.Value) {
		if v.Kind() == reflect.String {
			v.SetString(s.Value)
			return
		}
		doc, problems := document.Parse("", []byte("value: "+s.Value))
		if doc != nil {
			box := reflect.New(reflect.StructOf([]reflect.StructField{{Name: "Value", Type: v.Type(), Tag: `yaml:"value"`}}))
			box.Elem().Field(0).Set(v)
			if len(problems) == 0 {
				problems = doc.Decode(box.Interface())
			}
			v.Set(box.Elem().Field(0))
		}
		for _, p := range problems {
			p.File, p.Line, p.Column = "environment", 0, 0
			p.Field = strings.Replace(p.Field, "value", s.Name, 1)
			if !strings.HasPrefix(s.Name, EnvPrefix) {
				p.File = "command line"
			}
			ps = append(ps, p)
		}
	})
	if !known {
		return Problems{{Field: s.Name, Message: fmt.Sprintf("there is no setting %q", s.Path)}}
	}
	c.forget(s.Path)
	c.origins[s.Path] = origin{name: s.Name}
	return ps
}

// forget drops who set what lies below a path that is set anew.
func (c *Config) forget(path string) {
	for p := range c.origins {
		if strings.HasPrefix(p, path+".") || strings.HasPrefix(p, path+"[") {
			delete(c.origins, p)
		}
	}
}

// reach visits the value at a path of yaml keys; maps' elements are made where create is set.
func reach(v reflect.Value, path []string, create bool, visit func(reflect.Value)) bool {
	if len(path) == 0 {
		visit(v)
		return true
	}
	switch v.Kind() {
	case reflect.Struct:
		for _, f := range reflect.VisibleFields(v.Type()) {
			if key, _, _ := strings.Cut(f.Tag.Get("yaml"), ","); key != path[0] || !f.IsExported() {
				continue
			}
			field := v.FieldByIndex(f.Index)
			if field.Kind() == reflect.Pointer && len(path) > 1 {
				target := field
				if field.IsNil() {
					target = reflect.New(field.Type().Elem())
					if s, ok := v.Interface().(document.Starter); ok {
						if start := s.Start(key(f)); start != nil {
							target = reflect.ValueOf(start)
						}
					}
				}
				if !reach(target.Elem(), path[1:], create, visit) {
					return false
				}
				if create {
					field.Set(target)
				}
				return true
			}
			return reach(field, path[1:], create, visit)
		}
	case reflect.Map:
		if path[0] == "" {
			return false
		}
		element := reflect.New(v.Type().Elem()).Elem()
		if old := v.MapIndex(reflect.ValueOf(path[0])); old.IsValid() {
			element.Set(old)
		}
		if !reach(element, path[1:], create, visit) {
			return false
		}
		if create {
			if v.IsNil() {
				v.Set(reflect.MakeMap(v.Type()))
			}
			v.SetMapIndex(reflect.ValueOf(path[0]), element)
		}
		return true
	}
	return false
}

func key(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("yaml"), ",")
	return name
}

// problem tells a mistake where the value was set.
func (c *Config) problem(path, message, hint string) Problem {
	for at := path; ; {
		if o, ok := c.origins[at]; ok && !o.file {
			file := "command line"
			if strings.HasPrefix(o.name, EnvPrefix) {
				file = "environment"
			}
			return Problem{File: file, Field: o.name + path[len(at):], Message: message, Hint: hint}
		}
		i := strings.LastIndexAny(at, ".[")
		if i < 0 {
			break
		}
		at = at[:i]
	}
	p := Problem{Field: path, Message: message, Hint: hint}
	if c.file == nil {
		return p
	}
	p.File = c.file.File
	for at := path; at != ""; at = at[:max(strings.LastIndexAny(at, ".["), 0)] {
		if c.file.Has(at) {
			p.Line, p.Column = c.file.Place(at)
			break
		}
	}
	return p
}

// fromError gives what a package says about its own settings a place.
func (c *Config) fromError(path string, err error) Problems {
	var ps Problems
	for _, e := range document.Leaves(err) {
		field, message := document.SplitField(e.Error())
		at := path
		if field != "" {
			at = document.Join(path, field)
		}
		if rest, missing := strings.CutPrefix(message, `is "": `); missing {
			message = "is missing: " + rest
		}
		ps = append(ps, c.problem(at, message, ""))
	}
	return ps
}
