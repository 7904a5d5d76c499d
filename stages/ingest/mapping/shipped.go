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
