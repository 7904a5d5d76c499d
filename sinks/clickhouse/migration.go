package clickhouse

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
)

//go:embed schema/*.sql
var schemaFiles embed.FS

// migration is one numbered file of the schema. It never changes once it has been released.
type migration struct {
	number uint32
	name   string // the file's, without .sql
	steps  []step
}

// step is one statement. It may run again after a crash, so it must not mind that it ran before: CREATE ... IF
// NOT EXISTS, CREATE OR REPLACE VIEW, ALTER ... ADD COLUMN IF NOT EXISTS.
type step struct {
	statement string // with {database} for the database's name
	checksum  string
	replaced  bool // a later statement makes the same view anew
}

const replaceView = "CREATE OR REPLACE VIEW "

// runs is what a step runs as. A view that a later step replaces is made only where there is none: a sink that is slower
// than another one, which has made the newer view already, would put the older one in its place.
func (s step) runs() string {
	if view, is := strings.CutPrefix(s.statement, replaceView); is && s.replaced {
		return "CREATE VIEW IF NOT EXISTS " + view
	}
	return s.statement
}

// migrations reads NNNN_name.sql, which are numbered from 1 without a gap. A statement ends with a semicolon at
// the end of a line; lines that begin with -- are comments.
func migrations(files fs.FS) ([]migration, error) {
	names, err := fs.Glob(files, "schema/*.sql")
	if err != nil {
		return nil, fmt.Errorf("schema: %w", err)
	}
	slices.Sort(names)
	all := make([]migration, 0, len(names))
	for i, path := range names {
		name := strings.TrimSuffix(strings.TrimPrefix(path, "schema/"), ".sql")
		digits, _, found := strings.Cut(name, "_")
		number, err := strconv.ParseUint(digits, 10, 32)
		if err != nil || !found || len(digits) != 4 || number != uint64(i+1) {
			return nil, fmt.Errorf("schema: file %s: want %04d_name.sql", path, i+1)
		}
		text, err := fs.ReadFile(files, path)
		if err != nil {
			return nil, fmt.Errorf("schema: %w", err)
		}
		m := migration{number: uint32(number), name: name, steps: steps(string(text))}
		if len(m.steps) == 0 {
			return nil, fmt.Errorf("schema: file %s holds no statement", path)
		}
		all = append(all, m)
	}
	markReplaced(all)
	return all, nil
}

// markReplaced finds the views that are made more than once; the last one counts.
func markReplaced(all []migration) {
	later := map[string]bool{}
	for i := len(all) - 1; i >= 0; i-- {
		for j := len(all[i].steps) - 1; j >= 0; j-- {
			s := &all[i].steps[j]
			if body, is := strings.CutPrefix(s.statement, replaceView); is {
				name := strings.Fields(body)[0]
				s.replaced, later[name] = later[name], true
			}
		}
	}
}

func steps(text string) []step {
	var (
		all       []step
		statement []string
	)
	end := func() {
		if s := strings.TrimSpace(strings.Join(statement, "\n")); s != "" {
			sum := sha256.Sum256([]byte(s))
			all = append(all, step{statement: s, checksum: hex.EncodeToString(sum[:])})
		}
		statement = nil
	}
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, " \t\r\n")
		if strings.HasPrefix(strings.TrimSpace(line), "--") {
			continue
		}
		body, last := strings.CutSuffix(line, ";")
		statement = append(statement, body)
		if last {
			end()
		}
	}
	end()
	return all
}
