package config_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"attune/stages/enrich"

	"attune/config"
)

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

const key = "ingest: {write_keys: [{name: shop, key: verysecretkey}]}\n"

func TestStrongerSourcesWin(t *testing.T) {
	file := write(t, "attune.yaml", key+"listen: file:2\ndata_dir: from-file\nlog: {level: warn}\nclickhouse: {batch_interval: 2s}\n")
	c, err := config.Sources{
		Defaults: []config.Setting{
			{Path: "listen", Value: "program:1", Name: "attune dev"},
			{Path: "topology.partitions", Value: "4", Name: "attune dev"},
			{Path: "destinations.mail.smtp.host", Value: "catcher", Name: "attune dev"},
			{Path: "destinations.mail.smtp.tls", Value: "none", Name: "attune dev"},
		},
		Path:  file,
		Env:   []string{"ATTUNE_DATA_DIR=from-env", "ATTUNE_LISTEN=env:3", "ATTUNE_CLICKHOUSE__BATCH_INTERVAL=3s", "ATTUNE_NATS__SYNC_ALWAYS=true", "OTHER=x"},
		Flags: []config.Setting{{Path: "listen", Value: "flag:4", Name: "--listen"}},
	}.Load()
	if err != nil {
		t.Fatal(err)
	}
	smtp := c.Destinations["mail"].SMTP
	for _, check := range []struct {
		what      string
		got, want any
	}{
		{"flag over env, file, program", c.Listen, "flag:4"},
		{"env over file", c.DataDir, "from-env"},
		{"file over default", c.Log.Level, "warn"},
		{"env over file, a duration", c.ClickHouse.BatchInterval, 3 * time.Second},
		{"env, a boolean", c.NATS.SyncAlways, true},
		{"program over default", c.Topology.Partitions, 4},
		{"default", c.Topology.Replicas, 1},
		{"a destination made by settings", smtp.Host, "catcher"},
		{"and its protocol's defaults", smtp.Port, 587},
		{"and a further setting", smtp.TLS, "none"},
	} {
		if check.got != check.want {
			t.Errorf("%s: got %v, want %v", check.what, check.got, check.want)
		}
	}
	var b strings.Builder
	if err := c.Explain(&b); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{
		`listen "flag:4" --listen`, `data_dir "from-env" ATTUNE_DATA_DIR`, `log.level "warn" ` + file + ":4",
		`topology.partitions 4 attune dev`, `topology.replicas 1 default`, `clickhouse.batch_interval 3s ATTUNE_CLICKHOUSE__BATCH_INTERVAL`,
		`ingest.write_keys[0].name "shop" ` + file + ":1",
	} {
		if !strings.Contains(strings.Join(strings.Fields(b.String()), " "), line) {
			t.Errorf("Explain lacks %s:\n%s", line, b.String())
		}
	}
}

func TestSecretsAreReadFromFilesAndNeverShown(t *testing.T) {
	secret := write(t, "password", "hunter2\n")
	c, err := config.Load(write(t, "attune.yaml", key+"destinations: {mail: {smtp: {host: h, username: u}}}\n"), []string{
		"ATTUNE_DESTINATIONS__MAIL__SMTP__PASSWORD_FILE=" + secret,
		"ATTUNE_CLICKHOUSE__DSN=clickhouse://u:hunter3@h:9000/attune?password=hunter4",
		"ATTUNE_NATS__URL=nats://u:hunter5@h:4222",
		"ATTUNE_DESTINATIONS__MAIL__SMTP__CA_FILE=/etc/ca.pem", // a setting of that name, not a secret in a file
	})
	if err != nil {
		t.Fatal(err)
	}
	smtp := c.Destinations["mail"].SMTP
	if smtp.Password != "hunter2" || smtp.CAFile != "/etc/ca.pem" {
		t.Errorf("password %q, ca_file %q", smtp.Password, smtp.CAFile)
	}
	var b strings.Builder
	if err := c.Explain(&b); err != nil {
		t.Fatal(err)
	}
	for _, never := range []string{"hunter", "verysecretkey"} {
		if strings.Contains(b.String(), never) {
			t.Errorf("Explain shows %q:\n%s", never, b.String())
		}
	}
	if !strings.Contains(b.String(), `nats://********@h:4222`) || !strings.Contains(b.String(), "/etc/ca.pem") {
		t.Errorf("Explain hides too much:\n%s", b.String())
	}
}

func TestProblemsNeverRepeatSecrets(t *testing.T) {
	_, err := config.Load(write(t, "attune.yaml", "ingest: {write_keys: [{name: a, key: \"hunter2 x\"}]}\n"), []string{
		"ATTUNE_CLICKHOUSE__DSN=clickhouse://u:hunter3@/", "ATTUNE_NATS__URL=http://u:hunter4@h",
		"ATTUNE_DESTINATIONS__MAIL__SMTP__PASSWORD=hunter5",
	})
	if err == nil {
		t.Fatal("no problem")
	}
	if strings.Contains(err.Error(), "hunter") {
		t.Errorf("a secret is told:\n%v", err)
	}
}

func TestLoadWithoutAFile(t *testing.T) {
	c, err := config.Load("", []string{"ATTUNE_INGEST__WRITE_KEYS=[{name: a, key: b}]"})
	if err != nil || c.Ingest.WriteKeys[0].Key != "b" || c.Listen != "127.0.0.1:8080" {
		t.Errorf("%v, %+v", err, c.Ingest.WriteKeys)
	}
	if _, err := config.Load(filepath.Join(t.TempDir(), "none.yaml"), nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
}

func TestDefaultIsValid(t *testing.T) {
	c := config.Default()
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
}

func FuzzCampaignFile(f *testing.F) {
	data, err := fs.ReadFile(config.ExampleFiles(), "campaigns/cart-abandonment.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	for _, s := range []string{
		"id: x\non: {event: a}\naudience: >\n  consent(\"email\")\n  && x\n", "id: \"a\\x41\\u00e9\"\naudience: 'it''s'\n", "- - - a", "? a\n: b",
		"id: &a x\non: *a", "id: !!int 3", "{a: {b: [c", "---\n---\n", "id: |2-\n    x\n", "\xff", "a: >\n\n\n  b\n   c\n\n d", "wait: 99999999999999999999h\n", "<<: {a: b}",
		"on: {event: }\nwait: 1e9\ncap: {per: ~, max: 0x1F}", "{", "[{", "\t", "a:\r\n  b", "audience: \"\\\n x\"",
	} {
		f.Add([]byte(s))
	}
	root, err := fs.ReadFile(config.ExampleFiles(), config.WorkspaceFile)
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		ws, err := config.CheckWorkspace(oneCampaign{root: root, data: data}.files(), config.DefaultInstallation("mail"))
		if ws == nil {
			t.Fatalf("no workspace: %v", err)
		}
		var ps config.Problems
		if err != nil && !errors.As(err, &ps) {
			t.Fatalf("not a list of problems: %v", err)
		}
		lines := strings.Count(strings.ReplaceAll(string(data), "\r", "\n"), "\n") + 2
		for _, p := range ps {
			if p.Message == "" || p.Line < 0 || p.Column < 0 || p.Line > lines {
				t.Errorf("odd problem in %d lines: %+v", lines, p)
			}
		}
		if err == nil {
			if _, err := ws.Chain(1, enrich.DefaultModels()); err != nil {
				t.Errorf("checks, and does not compile: %v", err)
			}
		}
	})
}
