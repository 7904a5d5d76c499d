package file

import "fmt"

// groups holds the rows of a grouped file, in the order of their groups' first rows.
type groups struct {
	maxRows  int
	maxBytes int64
	rows     int
	bytes    int64
	by       map[string]*group
	order    []*group
	spoiled  map[string]bool // groups of which a row can't be read
}

type group struct {
	key  string
	rows []row
}

func newGroups(maxRows int, maxBytes int64) *groups {
	return &groups{maxRows: maxRows, maxBytes: maxBytes, by: map[string]*group{}, spoiled: map[string]bool{}}
}

// add fails when the bounds are reached: a group cut in two would be wrong, and nobody would see it.
func (g *groups) add(key string, r row) error {
	g.rows++
	g.bytes += int64(r.size)
	if g.rows > g.maxRows || g.bytes > g.maxBytes {
		return fmt.Errorf("group holds at most %s rows and %s MiB in memory, and the file has more: split it, all rows of a group in the same part",
			thousands(int64(g.maxRows)), thousands(g.maxBytes>>20))
	}
	one := g.by[key]
	if one == nil {
		one = &group{key: key}
		g.by[key] = one
		g.order = append(g.order, one)
	}
	one.rows = append(one.rows, r)
	return nil
}
