// Package schema holds the JSON Schemas of the files that a person writes, for editors. They are generated from the
// Go types that the files are read into, by `go test ./config/schema -update`; a test fails when they are stale.
package schema

import (
	"embed"
	"io/fs"
)

//go:embed *.json
var files embed.FS

// Files are attune.json, workspace.json, segment.json, campaign.json and scenario.json.
func Files() fs.FS { return files }
