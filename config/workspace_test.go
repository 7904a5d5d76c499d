package config_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"attune/stages/enrich"

	"github.com/google/go-cmp/cmp"

	"attune/config"
	"attune/config/scenario"
)

func TestShippedWorkspacesLoadCheckAndPass(t *testing.T) {
	for name, files := range map[string]fs.FS{"example": config.ExampleFiles(), "starter": config.StarterFiles()} {
		t.Run(name, func(t *testing.T) {
			ws, err := config.CheckWorkspace(files, config.DefaultInstallation("mail"))
			if err != nil {
				t.Fatal(err)
			}
			report, err := scenario.RunAll(files, ws, config.DefaultInstallation("mail"))
			if err != nil {
				t.Fatal(err)
			}
			var out strings.Builder
			if err := report.Write(&out, true); err != nil {
				t.Fatal(err)
			}
			if report.Failed() > 0 || len(report.Results) < 2 {
				t.Errorf("%s", out.String())
			}
		})
	}
}

func TestExampleShortensWaits(t *testing.T) {
	ws, changed, err := config.Example(20 * time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"cart-abandonment: wait 1h is now 20s"}; !cmp.Equal(changed, want) {
		t.Errorf("changed %q, want %q", changed, want)
	}
	if _, again, _ := config.Example(0); len(again) != 0 {
		t.Errorf("0 changed %q", again)
	}
	if changed := ws.ShortenWaits(20 * time.Second); len(changed) != 0 {
		t.Errorf("a second time changed %q", changed)
	}
}

func TestEncodeIsCanonicalAndDecodes(t *testing.T) {
	ws, _, err := config.Example(0)
	if err != nil {
		t.Fatal(err)
	}
	data, hash, err := ws.Encode()
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		other, _, err := config.Example(0)
		if err != nil {
			t.Fatal(err)
		}
		if again, h, _ := other.Encode(); string(again) != string(data) || h != hash {
			t.Fatal("the same workspace gives different bytes")
		}
	}
	decoded, err := config.DecodeWorkspace(data)
	if err != nil {
		t.Fatal(err)
	}
	if again, h, _ := decoded.Encode(); string(again) != string(data) || h != hash {
		t.Errorf("decoded and encoded again:\n%s", cmp.Diff(string(data), string(again)))
	}
	if decoded.Templates["cart"].HTML != ws.Templates["cart"].HTML || decoded.Templates["cart"].Text == "" {
		t.Error("the template did not survive")
	}
	chain, err := decoded.Chain(7, enrich.DefaultModels())
	if err != nil {
		t.Fatal(err)
	}
	if chain.Version != 7 || chain.Definitions != hash || len(chain.Stages) != 3 || len(hash) != 64 {
		t.Errorf("chain: version %d, definitions %q, %d stages", chain.Version, chain.Definitions, len(chain.Stages))
	}
	if err := config.Check(decoded, config.DefaultInstallation("mail")); err != nil {
		t.Errorf("the decoded workspace does not check: %v", err)
	}
	// Mails find their template by the hash of what was stored, however it was written.
	spaced, err := config.DecodeWorkspace(append([]byte("  "), data...))
	if err != nil {
		t.Fatal(err)
	}
	if c, err := spaced.Chain(1, enrich.DefaultModels()); err != nil || c.Definitions == hash {
		t.Errorf("chain of other bytes: %v, %v", c, err)
	}
	ws.Segments[0].Description += "!"
	if _, h, _ := ws.Encode(); h == hash {
		t.Error("another workspace has the same hash")
	}
}

func TestDecodeRefusesWhatItDoesNotKnow(t *testing.T) {
	for _, data := range []string{
		``, `{}`, `null`, `[]`, `{"format":2}`, `{"format":1,"experiments":[]}`, `{"format":1}{}`,
		`{"format":1,"campaigns":[{"id":"a","holdout":"5%"}]}`,
	} {
		if _, err := config.DecodeWorkspace([]byte(data)); err == nil {
			t.Errorf("%s was accepted", data)
		}
	}
}

func TestEmptyWorkspaceHasAChain(t *testing.T) {
	chain, err := config.Empty().Chain(0, enrich.DefaultModels())
	if err != nil || len(chain.Stages) != 3 {
		t.Errorf("%v, %v", chain, err)
	}
}

func TestWriteStarter(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "shop")
	if err := config.WriteStarter(dir); err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(filepath.Join(dir, "attune.yaml"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := config.CheckWorkspace(os.DirFS(dir), c.Installation()); err != nil {
		t.Error(err)
	}
	// The schema that each file names is there.
	modelines := 0
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || filepath.Ext(path) != ".yaml" {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		first, _, _ := strings.Cut(string(data), "\n")
		_, schema, ok := strings.Cut(first, "yaml-language-server: $schema=")
		if !ok {
			t.Errorf("%s names no schema", path)
			return nil
		}
		modelines++
		_, err = os.Stat(filepath.Join(filepath.Dir(path), schema))
		return err
	})
	if err != nil || modelines < 6 {
		t.Errorf("%d files name a schema: %v", modelines, err)
	}
	if err := config.WriteStarter(dir); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("a second time: %v", err)
	}
}

func TestOpenWorkspaceSaysWhatIsMissing(t *testing.T) {
	if _, err := config.OpenWorkspace(filepath.Join(t.TempDir(), "none")); err == nil || !strings.Contains(err.Error(), "attune init") {
		t.Errorf("got %v", err)
	}
	if _, err := config.OpenWorkspace(t.TempDir()); err == nil || !strings.Contains(err.Error(), "workspace.yaml") {
		t.Errorf("got %v", err)
	}
}
