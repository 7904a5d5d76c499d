// Package deployments_test reads the files of this folder as those would who use them.
package deployments_test

import (
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/nats-io/nats-server/v2/server"

	"attune/config"
	"attune/pipeline/embedded"
)

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestNATS(t *testing.T) {
	const path = "nats/nats-server.conf"
	text := read(t, path)
	// What is commented out is valid as well.
	full := text
	for _, line := range []string{"# authorization {", "#   users", "# }", "# sync_interval: always", "# cluster {", "#   name", "#   listen", "#   routes"} {
		full = strings.ReplaceAll(full, line, strings.Replace(line, "# ", "  ", 1))
	}
	full = strings.Replace(full, "  tls {", "# tls {", 1)
	t.Setenv("ATTUNE_NATS_PASSWORD", "secret")
	for name, conf := range map[string]string{"as it is": text, "with what is commented out": closeTLS(full)} {
		file := filepath.Join(t.TempDir(), "nats-server.conf")
		if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
			t.Fatal(err)
		}
		o, err := server.ProcessConfigFile(file)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !o.JetStream || o.MaxPayload != embedded.DefaultMaxPayload {
			t.Errorf("%s: JetStream %v, max_payload %d; want what the embedded server has, %d", name, o.JetStream, o.MaxPayload, embedded.DefaultMaxPayload)
		}
		if rich := name != "as it is"; rich != o.SyncAlways || rich != (len(o.Users) == 1) || rich != (o.Cluster.Name == "attune") {
			t.Errorf("%s: sync always %v, %d users, cluster %q", name, o.SyncAlways, len(o.Users), o.Cluster.Name)
		}
	}
}

// closeTLS comments out the end of the TLS block, which names files that are not here.
func closeTLS(conf string) string {
	before, after, found := strings.Cut(conf, "#   key_file: \"/etc/nats/server-key.pem\"\n")
	if !found {
		return conf
	}
	return before + strings.Replace(after, "  }", "# }", 1)
}

func TestClickHouse(t *testing.T) {
	decoder := xml.NewDecoder(strings.NewReader(read(t, "clickhouse/settings.xml")))
	var path, seen []string
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		switch token := token.(type) {
		case xml.StartElement:
			path = append(path, token.Name.Local)
			seen = append(seen, strings.Join(path, "/"))
		case xml.EndElement:
			path = path[:len(path)-1]
		}
	}
	for _, want := range []string{
		"clickhouse/fsync_metadata", "clickhouse/merge_tree/fsync_after_insert", "clickhouse/merge_tree/fsync_part_directory",
		"clickhouse/query_log/ttl",
	} {
		if !slices.Contains(seen, want) {
			t.Errorf("%s is not set", want)
		}
	}
}

// The parts of compose.yaml that can be checked without Docker: what it mounts is here, and what attune.yaml names is there.
func TestCompose(t *testing.T) {
	var compose struct {
		Services map[string]struct {
			Image   string
			Volumes []string
			Build   struct{ Context, Dockerfile string }
			Ports   []string
		}
		Volumes map[string]any
	}
	if err := yaml.Unmarshal([]byte(read(t, "compose/compose.yaml")), &compose); err != nil {
		t.Fatal(err)
	}
	for name, s := range compose.Services {
		if s.Image == "" {
			t.Errorf("service %s has no image", name)
		}
		for _, v := range s.Volumes {
			source, _, _ := strings.Cut(v, ":")
			if !strings.HasPrefix(source, ".") {
				if _, declared := compose.Volumes[source]; !declared {
					t.Errorf("service %s mounts volume %s, which is not declared", name, source)
				}
				continue
			}
			if _, err := os.Stat(filepath.Join("compose", source)); err != nil {
				t.Errorf("service %s mounts %v", name, err)
			}
		}
		for _, p := range s.Ports {
			if !strings.HasPrefix(p, "127.0.0.1:") {
				t.Errorf("service %s: port %s is open to the network, and the passwords are in the file", name, p)
			}
		}
		if b := s.Build; b.Dockerfile != "" {
			if _, err := os.Stat(filepath.Join("compose", b.Context, b.Dockerfile)); err != nil {
				t.Errorf("service %s is built by %v", name, err)
			}
		}
	}
	c, err := config.Load("compose/attune.yaml", nil)
	if err != nil {
		t.Fatal(err)
	}
	for what, address := range map[string]string{"nats.url": c.NATS.URL, "clickhouse.dsn": c.ClickHouse.DSN, "destinations.mail": "@" + c.Destinations["mail"].SMTP.Host + ":"} {
		if !slices.ContainsFunc([]string{"nats", "clickhouse", "mailpit"}, func(service string) bool {
			_, known := compose.Services[service]
			return known && (strings.Contains(address, "@"+service+":") || strings.Contains(address, "//"+service+":"))
		}) {
			t.Errorf("%s is at no service of compose.yaml", what)
		}
	}
}

// The variables that the unit and the image set are known to the program.
func TestEnvironment(t *testing.T) {
	for _, path := range []string{"systemd/attune.service", "docker/Dockerfile"} {
		var env []string
		for word := range strings.FieldsSeq(read(t, path)) {
			word = strings.TrimPrefix(word, "Environment=")
			if name, value, ok := strings.Cut(word, "="); ok && strings.HasPrefix(name, config.EnvPrefix) && !strings.HasSuffix(name, "_FILE") {
				env = append(env, name+"="+value)
			}
		}
		if len(env) < 2 {
			t.Errorf("%s sets %v: the test did not find its variables", path, env)
		}
		env = append(env, "ATTUNE_INGEST__WRITE_KEYS=[{name: shop, key: k}]")
		if _, err := config.Load("", env); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
}
