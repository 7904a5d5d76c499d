package embedded

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"text/template"

	"github.com/google/uuid"
)

// Names inside the embedded ClickHouse.
const (
	databaseName = "attune"
	appUser      = "attune"
	analystUser  = "analyst"
)

const passwordsFile = "passwords.json"

// passwords are made once per data folder, so that a restart leaves every DSN as it was.
type passwords struct {
	App     string `json:"attune"`
	Analyst string `json:"analyst"`
}

func loadPasswords(dir string) (passwords, error) {
	path := filepath.Join(dir, passwordsFile)
	var p passwords
	b, err := os.ReadFile(path)
	switch {
	case err == nil:
		if err := json.Unmarshal(b, &p); err != nil || p.App == "" || p.Analyst == "" {
			return passwords{}, fmt.Errorf("%s is damaged: remove it, and new passwords are made", path)
		}
		return p, nil
	case !errors.Is(err, fs.ErrNotExist):
		return passwords{}, err
	}
	p = passwords{App: randomHex(), Analyst: randomHex()}
	if b, err = json.Marshal(p); err != nil {
		return passwords{}, err
	}
	return p, writeFile(path, append(b, '\n'))
}

// randomHex is 128 random bits in letters that need no escaping in a URL or in XML.
func randomHex() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

// serverConfig is what the two XML templates need.
type serverConfig struct {
	Dir       string
	UsersFile string
	TCPPort   int
	HTTPPort  int
	MaxMemory int64
	Fsync     bool

	AppUser, AppPassword         string // SHA-256 in hex
	AnalystUser, AnalystPassword string
	Database                     string
	Engines                      []string
}

// tableEngines are those that the application's user may use: all that keep their data inside the server.
func tableEngines() []string {
	return []string{
		"Atomic", "MergeTree", "ReplacingMergeTree", "SummingMergeTree", "AggregatingMergeTree", "CoalescingMergeTree",
		"CollapsingMergeTree", "VersionedCollapsingMergeTree", "Memory", "Null", "Log", "TinyLog", "StripeLog",
		"Set", "Join", "Buffer", "Merge", "View", "MaterializedView", "Dictionary", "GenerateRandom",
	}
}

// writeConfig writes config.xml and users.xml below dir and returns the path of the former.
func writeConfig(dir string, c serverConfig, p passwords) (string, error) {
	c.Dir = dir
	c.UsersFile = filepath.Join(dir, "users.xml")
	c.AppUser, c.AppPassword = appUser, sha256Hex(p.App)
	c.AnalystUser, c.AnalystPassword = analystUser, sha256Hex(p.Analyst)
	c.Database, c.Engines = databaseName, tableEngines()
	path := filepath.Join(dir, "config.xml")
	for file, text := range map[string]string{path: configXML, c.UsersFile: usersXML} {
		b, err := renderXML(text, c)
		if err != nil {
			return "", fmt.Errorf("write %s: %w", file, err)
		}
		if err := writeFile(file, b); err != nil {
			return "", fmt.Errorf("write %s: %w", file, err)
		}
	}
	return path, persistSystemDatabase(dir)
}

func sha256Hex(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

func renderXML(text string, c serverConfig) ([]byte, error) {
	escape := func(s string) (string, error) {
		var b strings.Builder
		err := xml.EscapeText(&b, []byte(s))
		return b.String(), err
	}
	t, err := template.New("").Funcs(template.FuncMap{"xml": escape}).Option("missingkey=error").Parse(text)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err = t.Execute(&b, c)
	return b.Bytes(), err
}

// persistSystemDatabase makes `system` a database on disk. Without this it lives in memory, and the tables of
// query_log and part_log, whose data is on disk, can't be created again at the second start.
func persistSystemDatabase(dir string) error {
	path := filepath.Join(dir, "metadata", "system.sql")
	if _, err := os.Stat(path); err == nil {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return writeFile(path, fmt.Appendf(nil, "ATTACH DATABASE _ UUID '%s'\nENGINE = Atomic\n", uuid.New()))
}

// System logs exist only where the configuration names them; metric logs are left out on purpose. The level of
// the log is a command-line flag: <logger><level> is ignored. Merges wait for as many parts as a sink writes in a quarter of
// a minute: of six at a time, each row is written twice as often, by processors that the pipeline is in need of.
const configXML = `<clickhouse>
  <listen_host>127.0.0.1</listen_host>
  <tcp_port>{{.TCPPort}}</tcp_port>
  <http_port>{{.HTTPPort}}</http_port>
  <path>{{xml .Dir}}/</path>
  <tmp_path>{{xml .Dir}}/tmp/</tmp_path>
  <user_files_path>{{xml .Dir}}/user_files/</user_files_path>
  <format_schema_path>{{xml .Dir}}/format_schemas/</format_schema_path>
  <users_config>{{xml .UsersFile}}</users_config>
  <user_directories><users_xml><path>{{xml .UsersFile}}</path></users_xml></user_directories>
  <mark_cache_size>67108864</mark_cache_size>
  <uncompressed_cache_size>0</uncompressed_cache_size>
  <max_server_memory_usage>{{.MaxMemory}}</max_server_memory_usage>
  <query_log>
    <database>system</database><table>query_log</table>
    <ttl>event_date + INTERVAL 7 DAY DELETE</ttl>
    <flush_interval_milliseconds>7500</flush_interval_milliseconds>
  </query_log>
  <part_log>
    <database>system</database><table>part_log</table>
    <ttl>event_date + INTERVAL 7 DAY DELETE</ttl>
    <flush_interval_milliseconds>7500</flush_interval_milliseconds>
  </part_log>
{{- if .Fsync}}
  <fsync_metadata>1</fsync_metadata>
{{- end}}
  <merge_tree>
    <min_parts_to_merge_at_once>16</min_parts_to_merge_at_once>
{{- if .Fsync}}
    <fsync_after_insert>1</fsync_after_insert>
    <fsync_part_directory>1</fsync_part_directory>
    <min_rows_to_fsync_after_merge>1</min_rows_to_fsync_after_merge>
{{- end}}
  </merge_tree>
</clickhouse>
`

// The server's own session always logs in as "default" without a password, so that user must exist, and may do
// nothing but open the listeners. The application's user owns every database whose name starts with its own, and
// no user has a right to files or URLs of the machine.
const usersXML = `<clickhouse>
  <profiles>
    <default/>
    <analyst>
      <readonly>2</readonly>
      <max_execution_time>300</max_execution_time>
      <max_memory_usage>{{.MaxMemory}}</max_memory_usage>
    </analyst>
  </profiles>
  <users>
    <default>
      <password></password>
      <networks><ip>127.0.0.1</ip></networks>
      <profile>default</profile><quota>default</quota>
      <grants>
        <query>GRANT SYSTEM LISTEN ON *.*</query>
        <query>GRANT SYSTEM FLUSH LOGS ON *.*</query>
      </grants>
    </default>
    <{{.AppUser}}>
      <password_sha256_hex>{{.AppPassword}}</password_sha256_hex>
      <networks><ip>127.0.0.1</ip></networks>
      <profile>default</profile><quota>default</quota>
      <grants>
        <query>GRANT SHOW, SELECT, INSERT, ALTER, CREATE, DROP, UNDROP TABLE, TRUNCATE, OPTIMIZE, dictGet ON {{.Database}}*.*</query>
{{- range .Engines}}
        <query>GRANT TABLE ENGINE ON {{.}}</query>
{{- end}}
        <query>GRANT SELECT ON system.*</query>
        <query>GRANT CREATE TEMPORARY TABLE, KILL QUERY ON *.*</query>
        <query>GRANT SYSTEM FLUSH, SYSTEM MERGES, SYSTEM TTL MERGES, SYSTEM VIEWS, SYSTEM RELOAD DICTIONARY ON *.*</query>
      </grants>
    </{{.AppUser}}>
    <{{.AnalystUser}}>
      <password_sha256_hex>{{.AnalystPassword}}</password_sha256_hex>
      <networks><ip>127.0.0.1</ip></networks>
      <profile>analyst</profile><quota>default</quota>
      <grants>
        <query>GRANT SELECT ON {{.Database}}.*</query>
      </grants>
    </{{.AnalystUser}}>
  </users>
  <quotas><default/></quotas>
</clickhouse>
`
