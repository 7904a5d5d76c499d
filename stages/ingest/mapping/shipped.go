package mapping

import (
	"embed"
	"fmt"
	"slices"
	"strings"
)

//go:embed shipped/*.yaml
var shipped embed.FS

// Shipped are the names of the mappings that come with Attune, sorted.
func Shipped() []string {
	entries, _ := shipped.ReadDir("shipped") // it is embedded: it is there
	var names []string
	for _, e := range entries {
		names = append(names, strings.TrimSuffix(e.Name(), ".yaml"))
	}
	slices.Sort(names)
	return names
}

// Source is the text of a mapping that comes with Attune.
func Source(name string) ([]byte, error) {
	data, err := shipped.ReadFile("shipped/" + name + ".yaml")
	if err != nil {
		return nil, fmt.Errorf("no mapping named %q comes with Attune: %s", name, nearest(name, Shipped()))
	}
	return data, nil
}

// Open reads a mapping that comes with Attune by its name, or a file by its path.
func Open(name string, readFile func(path string) ([]byte, error), o Options) (*Mapping, error) {
	file := name
	if slices.Contains(Shipped(), name) {
		readFile, file = Source, name+".yaml"
	}
	data, err := readFile(name)
	if err != nil {
		return nil, fmt.Errorf("mapping: %w; name a file, or one of %s", err, strings.Join(Shipped(), ", "))
	}
	return Parse(file, data, o)
}
