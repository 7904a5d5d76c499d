package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"attune/config/document"
	"attune/pipeline/rule"
	"attune/stages/enrich"
	"attune/stages/segment"
	"attune/stages/trigger"
)

// Workspace is what marketers and engineers keep in git: the definitions by which customers are judged and mails
// are made.
type Workspace struct {
	// Name says whose it is, in reports.
	Name string
	// Enrich is how customers are valued.
	Enrich enrich.Config
	// Segments and Campaigns are sorted by id.
	Segments  []segment.Definition
	Campaigns []trigger.Campaign
	// Templates are the mails' texts by name: templates/cart.html is "cart".
	Templates map[string]Template

	sources sources
	// object is the hash of what it was decoded from: mails look their template up by it, so it must not depend on how
	// this program would encode the same.
	object string
}

// Template is one mail's texts as they are written.
type Template struct {
	HTML string `json:"html"`
	// Text is the plain alternative, templates/cart.txt; may be empty.
	Text string `json:"text,omitempty"`
}

// sources are the files that a workspace was read from; empty for one that was decoded.
type sources struct {
	segments, campaigns map[string]*document.Document // by id
	broken              map[string]bool               // by file: has problems of its own, so it isn't checked further
	ids                 map[string]bool               // of all segments, broken ones too
	templates           map[string]bool               // likewise
}

// The workspace's files.
const (
	WorkspaceFile = "workspace.yaml"
	segmentDir    = "segments"
	campaignDir   = "campaigns"
	templateDir   = "templates"
	// TestDir holds the scenarios, *.scenario.yaml.
	TestDir = "tests"
	// ScenarioSuffix ends a scenario's file name.
	ScenarioSuffix = ".scenario.yaml"
)

// maxFiles bounds how many files one folder of a workspace may hold.
const maxFiles = 10_000

// WorkspaceSettings is what workspace.yaml holds.
type WorkspaceSettings struct {
	// Name says whose the workspace is, in reports.
	Name string `yaml:"name"`
	// Enrich is how customers are valued.
	Enrich enrich.Config `yaml:"enrich"`
}

// laterSegmentKeys and laterCampaignKeys are known and come with later versions.
func laterSegmentKeys() []string { return []string{"holdout"} }

func laterCampaignKeys() []string {
	return []string{
		"goal", "require", "holdout", "experiment", "content", "quiet_hours", "mode", "offer", "priority", "budget",
		"on.trait_changed", "on.schedule", "on.stock", "on.price", "unless.where", "unless.segment_entered", "send.slots",
	}
}

// LoadWorkspace reads a workspace folder. The error is a [Problems] with everything that is wrong with the single
// files; the workspace then holds the rest, so that [Check] can find what is wrong between them. It is nil only
// when fsys is no workspace at all.
func LoadWorkspace(fsys fs.FS) (*Workspace, error) {
	l := &loader{fsys: fsys, ws: &Workspace{
		Enrich: enrich.DefaultConfig(), Templates: map[string]Template{},
		sources: sources{
			segments: map[string]*document.Document{}, campaigns: map[string]*document.Document{},
			broken: map[string]bool{}, ids: map[string]bool{}, templates: map[string]bool{},
		},
	}}
	if _, err := fs.Stat(fsys, WorkspaceFile); errors.Is(err, fs.ErrNotExist) {
		return nil, Problems{{File: WorkspaceFile, Message: "there is no such file, so this is no workspace", Hint: "`attune init DIR` writes one"}}
	} else if err != nil {
		return nil, fmt.Errorf("workspace: %w", err)
	}
	l.strayFolders()
	l.root()
	l.segments()
	l.campaigns()
	l.templates()
	return l.ws, l.problems.Err()
}

// OpenWorkspace reads the workspace in a folder, as LoadWorkspace does.
func OpenWorkspace(dir string) (*Workspace, error) {
	info, err := os.Stat(dir)
	if err != nil {
		return nil, fmt.Errorf("workspace: %w; `attune init DIR` writes one", err)
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("workspace %s: is no folder", dir)
	}
	return LoadWorkspace(os.DirFS(dir))
}

// CheckWorkspace reads a workspace folder and checks everything, all problems in one.
func CheckWorkspace(fsys fs.FS, in Installation) (*Workspace, error) {
	ws, err := LoadWorkspace(fsys)
	if ws == nil {
		return nil, err
	}
	var all, more Problems
	if err != nil && !errors.As(err, &all) {
		return ws, err
	}
	if err := Check(ws, in); err != nil && !errors.As(err, &more) {
		return ws, err
	}
	return ws, append(all, more...).Err()
}

// loader reads one folder.
type loader struct {
	fsys     fs.FS
	ws       *Workspace
	problems Problems
}

func (l *loader) add(p Problem) { l.problems = append(l.problems, p) }

// strayFolders finds folders that were meant to be one of the workspace's.
func (l *loader) strayFolders() {
	known := []string{segmentDir, campaignDir, templateDir, TestDir}
	list, err := fs.ReadDir(l.fsys, ".")
	if err != nil {
		l.add(Problem{File: ".", Message: err.Error()})
	}
	for _, e := range list {
		hint := document.DidYouMean(e.Name(), known)
		if e.IsDir() && !slices.Contains(known, e.Name()) && strings.HasPrefix(hint, "did you mean") {
			l.add(Problem{File: e.Name(), Message: "is not read", Hint: hint})
		}
	}
}

// files are a folder's files that end in one of the suffixes; others are problems.
func (l *loader) files(dir string, suffixes ...string) []string {
	list, err := fs.ReadDir(l.fsys, dir)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			l.add(Problem{File: dir, Message: err.Error()})
		}
		return nil
	}
	if len(list) > maxFiles {
		l.add(Problem{File: dir, Message: fmt.Sprintf("holds more than %d files", maxFiles)})
		return nil
	}
	var files []string
	for _, e := range list {
		name := path.Join(dir, e.Name())
		switch {
		case strings.HasPrefix(e.Name(), "."), strings.HasSuffix(e.Name(), "~"), e.Name() == "README.md":
		case e.IsDir():
			l.add(Problem{File: name, Message: "is a folder, and is not read", Hint: "put its files into " + dir})
		case slices.ContainsFunc(suffixes, func(s string) bool { return strings.HasSuffix(e.Name(), s) }):
			files = append(files, name)
		default:
			l.add(Problem{File: name, Message: "is not read", Hint: "its name must end in " + strings.Join(suffixes, " or ")})
		}
	}
	return files
}

// read decodes one file; false: it holds nothing that can be used.
func (l *loader) read(file string, into any, later ...string) (*document.Document, bool) {
	data, err := fs.ReadFile(l.fsys, file)
	if err != nil {
		l.add(Problem{File: file, Message: err.Error()})
		return nil, false
	}
	doc, problems := document.Parse(file, data)
	if doc != nil {
		problems = append(problems, doc.Decode(into, later...)...)
	}
	l.problems = append(l.problems, problems...)
	if len(problems) > 0 {
		l.ws.sources.broken[file] = true
	}
	return doc, doc != nil
}

func (l *loader) root() {
	w := WorkspaceSettings{Enrich: l.ws.Enrich}
	doc, ok := l.read(WorkspaceFile, &w)
	if !ok {
		return
	}
	l.ws.Name, l.ws.Enrich = w.Name, w.Enrich
	if strings.TrimSpace(w.Name) == "" && !doc.Has("name") {
		l.add(Problem{File: WorkspaceFile, Line: 1, Column: 1, Field: "name", Message: "is missing", Hint: "name the workspace, such as shop"})
	}
	for _, e := range document.Leaves(w.Enrich.Validate()) {
		field, message := document.SplitField(e.Error())
		l.add(doc.Problem(document.Join("enrich", field), "", message, ""))
	}
}

// identify checks that a definition's id is its file's name; it is the id by which others know it.
func (l *loader) identify(doc *document.Document, file, id string) string {
	name := strings.TrimSuffix(path.Base(file), ".yaml")
	switch {
	case l.ws.sources.broken[file] && id == "":
	case !doc.Has("id"):
		l.ws.sources.broken[file] = true
		l.add(Problem{File: file, Line: 1, Column: 1, Field: "id", Message: "is missing", Hint: fmt.Sprintf("write id: %s", name)})
	case id != name:
		l.add(doc.Problem("id", id, fmt.Sprintf("%q is not the file's name", id), fmt.Sprintf("write id: %s, or rename the file to %s.yaml", name, id)))
		return id
	}
	return name
}

func (l *loader) segments() {
	for _, file := range l.files(segmentDir, ".yaml") {
		var d segment.Definition
		doc, ok := l.read(file, &d, laterSegmentKeys()...)
		if !ok {
			l.ws.sources.ids[strings.TrimSuffix(path.Base(file), ".yaml")] = true
			continue
		}
		id := l.identify(doc, file, d.ID)
		d.ID = id
		l.ws.sources.ids[id] = true
		if other := l.ws.sources.segments[id]; other != nil {
			l.add(doc.Problem("id", id, fmt.Sprintf("%q is the id of another segment too", id), "it is defined in "+other.File))
			continue
		}
		l.ws.sources.segments[id] = doc
		l.ws.Segments = append(l.ws.Segments, d)
	}
	slices.SortFunc(l.ws.Segments, func(a, b segment.Definition) int { return strings.Compare(a.ID, b.ID) })
}

func (l *loader) campaigns() {
	for _, file := range l.files(campaignDir, ".yaml") {
		var c trigger.Campaign
		doc, ok := l.read(file, &c, laterCampaignKeys()...)
		if !ok {
			continue
		}
		id := l.identify(doc, file, c.ID)
		c.ID = id
		if other := l.ws.sources.campaigns[id]; other != nil {
			l.add(doc.Problem("id", id, fmt.Sprintf("%q is the id of another campaign too", id), "it is defined in "+other.File))
			continue
		}
		l.ws.sources.campaigns[id] = doc
		l.ws.Campaigns = append(l.ws.Campaigns, c)
	}
	slices.SortFunc(l.ws.Campaigns, func(a, b trigger.Campaign) int { return strings.Compare(a.ID, b.ID) })
}

func (l *loader) templates() {
	for _, file := range l.files(templateDir, ".html", ".txt") {
		name := strings.TrimSuffix(path.Base(file), path.Ext(file))
		l.ws.sources.templates[name] = true
		data, err := fs.ReadFile(l.fsys, file)
		if err != nil {
			l.add(Problem{File: file, Message: err.Error()})
			continue
		}
		t := l.ws.Templates[name]
		if path.Ext(file) == ".html" {
			if t.HTML = string(data); strings.TrimSpace(t.HTML) == "" {
				l.ws.sources.broken[file] = true
				l.add(Problem{File: file, Line: 1, Column: 1, Message: "is empty"})
			}
		} else {
			t.Text = string(data)
			if _, err := fs.Stat(l.fsys, path.Join(templateDir, name+".html")); err != nil {
				l.ws.sources.broken[file] = true
				l.add(Problem{File: file, Message: "is the plain alternative of a mail that is not there", Hint: "write " + name + ".html beside it"})
			}
		}
		l.ws.Templates[name] = t
	}
}

// ShortenWaits makes every wait that is longer as long as longest, for trying things out, and says what it
// changed: "cart-abandonment: wait 1h is now 20s".
func (ws *Workspace) ShortenWaits(longest time.Duration) (changed []string) {
	for i := range ws.Campaigns {
		c := &ws.Campaigns[i]
		if time.Duration(c.Wait) > longest {
			changed = append(changed, fmt.Sprintf("%s: wait %s is now %s", c.ID, c.Wait, trigger.Duration(longest)))
			c.Wait = trigger.Duration(longest)
			ws.object = ""
		}
	}
	return changed
}

// compiler knows the workspace's loyalty tiers and propensities.
func (ws *Workspace) compiler() (*rule.Compiler, error) {
	var tiers []string
	for _, t := range ws.Enrich.Loyalty.Tiers {
		tiers = append(tiers, t.Name)
	}
	c, err := rule.NewCompiler(tiers...)
	if err != nil {
		return nil, fmt.Errorf("workspace: %w", err)
	}
	var foretold []string
	for _, p := range ws.Enrich.Propensities {
		foretold = append(foretold, p.Name)
	}
	return c.Foretelling(foretold...), nil
}
