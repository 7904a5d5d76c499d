package config

import (
	"fmt"
	"io"
	"maps"
	"net/url"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// Explain writes every setting in force, one a line, with who set it. Secrets are masked.
func (c *Config) Explain(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	c.walk(func(path string, v reflect.Value) {
		fmt.Fprintf(table, "%s\t%s\t%s\n", path, shown(path, v), c.originOf(path))
	})
	return table.Flush()
}

func (c *Config) originOf(path string) string {
	for at := path; ; {
		if o, ok := c.origins[at]; ok {
			switch {
			case o.file:
				line, _ := c.file.Place(at)
				return fmt.Sprintf("%s:%d", c.file.File, line)
			default:
				return o.name
			}
		}
		i := strings.LastIndexAny(at, ".[")
		if i < 0 {
			return "default"
		}
		at = at[:i]
	}
}

// walk visits every setting in the order of the fields; maps by name. A list is one setting, or one each when it
// holds more than words.
func (c *Config) walk(visit func(path string, v reflect.Value)) {
	walk("", reflect.ValueOf(c).Elem(), visit)
}

func walk(path string, v reflect.Value, visit func(path string, v reflect.Value)) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			walk(path, v.Elem(), visit)
		}
	case reflect.Struct:
		for _, f := range reflect.VisibleFields(v.Type()) {
			name := key(f)
			if name == "" || name == "-" || !f.IsExported() {
				continue
			}
			at := name
			if path != "" {
				at = path + "." + name
			}
			walk(at, v.FieldByIndex(f.Index), visit)
		}
	case reflect.Map:
		names := map[string]reflect.Value{}
		for _, k := range v.MapKeys() {
			names[k.String()] = v.MapIndex(k)
		}
		for _, name := range slices.Sorted(maps.Keys(names)) {
			walk(path+"."+name, names[name], visit)
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() != reflect.Struct || v.Len() == 0 {
			visit(path, v)
			return
		}
		for i := range v.Len() {
			walk(fmt.Sprintf("%s[%d]", path, i), v.Index(i), visit)
		}
	default:
		visit(path, v)
	}
}

// secret are the names of settings whose value is never shown.
var secret = regexp.MustCompile(`(^|[._])(password|secret|token|key)$`)

const mask = "********"

func shown(path string, v reflect.Value) string {
	if v.Kind() == reflect.Slice && v.Len() == 0 {
		return "[]"
	}
	if d, ok := v.Interface().(time.Duration); ok {
		return d.String()
	}
	s := fmt.Sprint(v.Interface())
	if v.Kind() != reflect.String {
		return s
	}
	switch {
	case s == "":
		return `""`
	case secret.MatchString(path):
		return mask
	case strings.Contains(s, "://") && (strings.HasSuffix(path, ".dsn") || strings.HasSuffix(path, ".url") || strings.HasSuffix(path, ".http")):
		return masked(s)
	}
	return strconv.Quote(s)
}

// masked hides what an address holds beside the host: user, password and parameters.
func masked(addresses string) string {
	var all []string
	for one := range strings.SplitSeq(addresses, ",") {
		u, err := url.Parse(strings.TrimSpace(one))
		if err != nil || u.Host == "" {
			return mask
		}
		user := ""
		if u.User != nil {
			user = mask + "@"
		}
		query := ""
		if u.RawQuery != "" {
			query = "?" + mask
		}
		all = append(all, u.Scheme+"://"+user+u.Host+u.Path+query)
	}
	return strconv.Quote(strings.Join(all, ","))
}
