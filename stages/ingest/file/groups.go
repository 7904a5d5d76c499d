package file

import "fmt"

// groups holds the rows of a grouped file, in the order of their groups' first rows.
type groups struct {
	maxRows  int
	maxBytes int64
	rows     int
	bytes    int64
	by       map[groupKey]*group
	order    []*group
	spoiled  map[string]bool // groups of which a row can't be read
}

type groupKey struct {
	call  *callRule
	value string
}

type group struct {
	call  *callRule
	value string
	rows  []row
}

func newGroups(maxRows int, maxBytes int64) *groups {
	return &groups{maxRows: maxRows, maxBytes: maxBytes, by: map[groupKey]*group{}, spoiled: map[string]bool{}}
}

// add fails when the bounds are reached: a group cut in two would be wrong, and nobody would see it.
func (g *groups) add(c *callRule, value string, r row) error {
	g.rows++
	g.bytes += int64(r.size)
	if g.rows > g.maxRows || g.bytes > g.maxBytes {
		return fmt.Errorf("group_by holds at most %s rows and %s MiB in memory, and the file has more: split it, all rows of a group in the same part",
			thousands(int64(g.maxRows)), thousands(g.maxBytes>>20))
	}
	key := groupKey{c, value}
	one := g.by[key]
	if one == nil {
		one = &group{call: c, value: value}
		g.by[key] = one
		g.order = append(g.order, one)
	}
	one.rows = append(one.rows, r)
	return nil
}

func (g *groups) spoil(value string) {
	if value != "" {
		g.spoiled[value] = true
	}
}
