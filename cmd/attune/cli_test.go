package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Exit codes and what a mistaken user reads.
func TestCommandLine(t *testing.T) {
	broken := t.TempDir()
	for name, text := range map[string]string{
		"workspace.yaml":      "name: broken\n",
		"segments/vip.yaml":   "id: vip\nwhen: customer.clw > 10\n",
		"campaigns/cart.yaml": "id: cart\non: {event: Product Added}\nholdout: 5%\nsend: {destination: mail, from: a@b.example, subject: hi, template: none}\n",
	} {
		path := filepath.Join(broken, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	nothing := filepath.Join(t.TempDir(), "nothing")
	for _, c := range []struct {
		args []string
		code int
		says []string
	}{
		{[]string{"--help"}, 0, []string{"dev", "import", "Run everything on this machine"}},
		{[]string{"version"}, 0, []string{"attune "}},
		{nil, exitUsage, []string{"Try: attune --help"}},
		{[]string{"frobnicate"}, exitUsage, []string{"frobnicate", "Try: attune --help"}},
		{[]string{"import", "x.csv"}, exitUsage, []string{"--mapping"}},
		{[]string{"import", "x.csv", "--mapping", nothing}, exitFailed, []string{nothing}},
		{[]string{"dev", "--rate", "0"}, exitFailed, []string{"--rate", "more than 0"}},
		{[]string{"dev", "--listen", "here", "--data", nothing}, exitFailed, []string{"--listen", "host:port"}},
		{[]string{"check", nothing}, exitFailed, []string{"attune init DIR"}},
		{[]string{"check", broken}, exitFailed, []string{
			"segments/vip.yaml:2:7", "customer.clw", "did you mean clv", "campaigns/cart.yaml:3:1", `"holdout" is not supported yet`,
		}},
		{[]string{"check", "--map", "../../config/example"}, 0, []string{
			"is fine", "bytes of a profile", "segment loyal ", "campaign loyal-thanks (on)", "event Order Completed ", "segment hot-sneaker-fans, segment lapsing",
		}},
		{[]string{"test", broken}, exitFailed, []string{"vip.yaml:2:"}},
		{[]string{"apply", broken}, exitFailed, []string{"vip.yaml:2:"}},
		{[]string{"init", broken}, exitFailed, []string{"not empty"}},
		{[]string{"sql", "SELECT 1", "--data", nothing}, exitFailed, []string{"attune dev --data " + nothing}},
		{[]string{"deadletter", "retry", "--data", nothing}, exitFailed, []string{"either a number or --reason"}},
		{[]string{"run", "--config", nothing}, exitFailed, []string{nothing, "attune init"}},
		{[]string{"config"}, 0, []string{"listen", "127.0.0.1:8080", "default"}},
	} {
		t.Run(strings.Join(c.args, " "), func(t *testing.T) {
			var out, errs bytes.Buffer
			code := run(t.Context(), c.args, streams{in: strings.NewReader(""), out: &out, err: &errs})
			said := out.String() + errs.String()
			if code != c.code {
				t.Errorf("exit code %d, want %d\n%s", code, c.code, said)
			}
			for _, part := range c.says {
				if !strings.Contains(said, part) {
					t.Errorf("it does not say %q:\n%s", part, said)
				}
			}
		})
	}
	if _, err := os.Stat(nothing); err == nil {
		t.Error("a refused command made a data folder")
	}
}
