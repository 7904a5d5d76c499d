package mailbox

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"net/smtp"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	gomail "github.com/wneessen/go-mail"
	"go.uber.org/goleak"
)

var update = flag.Bool("update", false, "write the golden files")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, dir string, keep int) *Mailbox {
	t.Helper()
	m, err := Start(t.Context(), Config{SMTPAddr: "127.0.0.1:0", Dir: dir, Keep: keep})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for range 2 {
			if err := m.Close(); err != nil {
				t.Error(err)
			}
		}
	})
	return m
}

// deliver hands raw text to the catcher as it is.
func deliver(t *testing.T, m *Mailbox, to, raw string) {
	t.Helper()
	if err := smtp.SendMail(m.SMTPAddr(), nil, "shop@shop.example", []string{to}, []byte(raw)); err != nil {
		t.Fatal(err)
	}
}

// compose is what the SMTP sink makes: both bodies, encoded subject.
func compose(t *testing.T, id, to, subject, html, text string) string {
	t.Helper()
	msg := gomail.NewMsg()
	if err := errors.Join(msg.From("Shöp <hi@shop.example>"), msg.To(to)); err != nil {
		t.Fatal(err)
	}
	msg.Subject(subject)
	msg.SetMessageIDWithValue(id + "@shop.example")
	msg.SetDateWithValue(time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC))
	msg.SetGenHeader("List-Unsubscribe-Post", "List-Unsubscribe=One-Click")
	msg.SetBodyString(gomail.TypeTextPlain, text)
	msg.AddAlternativeString(gomail.TypeTextHTML, html)
	var raw strings.Builder
	if _, err := msg.WriteTo(&raw); err != nil {
		t.Fatal(err)
	}
	return raw.String()
}

func fetch(t *testing.T, m *Mailbox, path string) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w
}

func TestCatchAndRead(t *testing.T) {
	m := open(t, t.TempDir(), 10)
	before := time.Now().Add(-time.Second)
	deliver(t, m, "ada@example.org", compose(t, "d-1", "Ada Lovelace <ada@example.org>", "Ada, 10 € off", "<p>Grüße</p>", "Grüße, Ada\nund so"))
	list := m.List()
	if len(list) != 1 {
		t.Fatalf("%d mails", len(list))
	}
	got := list[0]
	if got.Received.Before(before) || got.Received.After(time.Now()) || got.Size == 0 || got.ID == "" {
		t.Errorf("%+v", got)
	}
	want := Summary{
		ID: got.ID, Received: got.Received, Size: got.Size, Copies: 1,
		From: "Shöp <hi@shop.example>", To: "Ada Lovelace <ada@example.org>", Subject: "Ada, 10 € off",
		Preview: "Grüße, Ada und so", MessageID: "<d-1@shop.example>", Date: time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC),
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	mail, err := m.Get(got.ID)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"<p>Grüße</p>", "Grüße, Ada\nund so"}, []string{mail.HTML, mail.Text}); diff != "" {
		t.Error(diff)
	}
	headers := fmt.Sprint(mail.Headers)
	for _, want := range []string{"{Return-Path <shop@shop.example>}", "{Delivered-To ada@example.org}", "{List-Unsubscribe-Post List-Unsubscribe=One-Click}", "{Subject Ada, 10 € off}"} {
		if !strings.Contains(headers, want) {
			t.Errorf("headers %s lack %s", headers, want)
		}
	}
	for _, id := range []string{"", "..", "../x", "20260101-000000-000000000"} {
		if _, err := m.Get(id); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("Get(%q): %v", id, err)
		}
	}
}

func TestAPI(t *testing.T) {
	m := open(t, t.TempDir(), 10)
	for i, to := range []string{"ada@example.org", "bob@example.org", "Ada@example.com"} {
		deliver(t, m, to, compose(t, fmt.Sprint("d-", i), to, fmt.Sprint("mail ", i), "<p>h</p>", "t"))
	}
	list := func(query string) (subjects []string, mails []Summary) {
		t.Helper()
		for _, prefix := range []string{"/mails", ""} { // with and without the prefix
			w := fetch(t, m, prefix+"/api/mails"+query)
			var body struct{ Mails []Summary }
			if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil || w.Code != 200 || body.Mails == nil {
				t.Fatalf("%d %v: %s", w.Code, err, w.Body)
			}
			mails, subjects = body.Mails, nil
			for _, s := range mails {
				subjects = append(subjects, s.Subject)
			}
		}
		return subjects, mails
	}
	all, mails := list("")
	if diff := cmp.Diff([]string{"mail 2", "mail 1", "mail 0"}, all); diff != "" {
		t.Error(diff)
	}
	if got, _ := list("?to=ADA@"); !cmp.Equal(got, []string{"mail 2", "mail 0"}) {
		t.Errorf("to: %v", got)
	}
	if got, _ := list("?since=" + url.QueryEscape(mails[1].Received.Format(time.RFC3339Nano))); !cmp.Equal(got, []string{"mail 2"}) {
		t.Errorf("since: %v", got)
	}
	if w := fetch(t, m, "/mails/api/mails?since=yesterday"); w.Code != 400 || !strings.Contains(w.Body.String(), "RFC 3339") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	var one Mail
	if w := fetch(t, m, "/mails/api/mails/"+mails[0].ID); json.Unmarshal(w.Body.Bytes(), &one) != nil || one.HTML != "<p>h</p>" || one.Text != "t" || one.Subject != "mail 2" || len(one.Headers) < 5 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if w := fetch(t, m, "/mails/"+mails[0].ID+"/source"); w.Header().Get("Content-Type") != "text/plain; charset=utf-8" || !strings.Contains(w.Body.String(), "Subject: mail 2") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	for _, path := range []string{"/mails/api/mails/nope", "/mails/nope", "/mails/nope/source", "/mails/nope/html", "/mails/20260101-000000-000000000"} {
		if w := fetch(t, m, path); w.Code != 404 {
			t.Errorf("%s: %d", path, w.Code)
		}
	}
	remove := func(header string) int {
		w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodDelete, "/mails/api/mails", nil)
		r.Header.Set("Sec-Fetch-Site", header)
		m.Handler().ServeHTTP(w, r)
		return w.Code
	}
	if code := remove("cross-site"); code != http.StatusForbidden || len(m.List()) != 3 {
		t.Errorf("another site deletes: %d", code)
	}
	if code := remove("same-origin"); code != http.StatusNoContent || len(m.List()) != 0 {
		t.Errorf("%d, %d mails left", code, len(m.List()))
	}
	if left, _ := filepath.Glob(filepath.Join(m.store.dir, "*")); len(left) != 0 {
		t.Errorf("files left: %v", left)
	}
}

func TestRestartKeepsTheNewest(t *testing.T) {
	dir := t.TempDir()
	m := open(t, dir, 5)
	for i := range 7 {
		deliver(t, m, "a@example.org", compose(t, fmt.Sprint("d-", i), "a@example.org", fmt.Sprint("mail ", i), "<p>h</p>", "t"))
	}
	before := m.List()
	if len(before) != 5 || before[0].Subject != "mail 6" || before[4].Subject != "mail 2" {
		t.Errorf("%+v", before)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if err := smtp.SendMail(m.SMTPAddr(), nil, "a@b.example", []string{"a@b.example"}, []byte("x")); err == nil {
		t.Error("takes mail after Close")
	}
	for name, content := range map[string]string{".incoming-1": "half", "notes.txt": "not a mail", "odd.eml": "not ours"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(before, open(t, dir, 5).List()); diff != "" {
		t.Error(diff)
	}
	if _, err := os.Stat(filepath.Join(dir, ".incoming-1")); !errors.Is(err, fs.ErrNotExist) {
		t.Error("a write cut short is kept")
	}
	if got := open(t, dir, 2).List(); len(got) != 2 || got[1].Subject != "mail 5" {
		t.Errorf("%+v", got)
	}
	info, err := os.Stat(filepath.Join(dir, before[0].ID+".eml"))
	if err != nil || info.Mode().Perm()&0o077 != 0 {
		t.Errorf("others can read %v, %v", info, err)
	}
}

func TestCopiesAreCounted(t *testing.T) {
	m := open(t, t.TempDir(), 3)
	send := func(id string) {
		deliver(t, m, "a@example.org", compose(t, id, "a@example.org", id, "<p>h</p>", "t"))
	}
	counts := func() (n []int) {
		for _, s := range m.List() {
			n = append(n, s.Copies)
		}
		return n
	}
	send("once")
	send("twice")
	send("twice")
	if diff := cmp.Diff([]int{2, 2, 1}, counts()); diff != "" {
		t.Error(diff)
	}
	body := fetch(t, m, "/mails/").Body.String()
	if strings.Count(body, "×2</span>") != 2 || !strings.Contains(body, "1 sent more than once") {
		t.Errorf("the page doesn't tell:\n%s", body)
	}
	if body := fetch(t, m, "/mails/"+m.List()[0].ID).Body.String(); !strings.Contains(body, "arrived 2 times") {
		t.Error("the mail's page doesn't tell")
	}
	send("other")
	send("other two") // pushes out one of the two
	if diff := cmp.Diff([]int{1, 1, 1}, counts()); diff != "" {
		t.Error(diff)
	}
}

// Whatever arrives is shown and breaks nothing.
func TestGarbage(t *testing.T) {
	m := open(t, t.TempDir(), 100)
	for name, c := range map[string]struct{ raw, text, html, subject string }{
		"nothing":            {"", "", "", ""},
		"no header":          {"just words\r\nand more", "just words\nand more\n", "", ""},
		"no body":            {"Subject: x\r\n", "", "", "x"},
		"no end of header":   {"Subject: x\r\nbroken line\r\nmore", "broken line\nmore\n", "", "x"},
		"bytes":              {"Subject: \xff\xfe\x00\r\n\r\n\xff\xfebytes", "\uFFFDbytes\n", "", "\uFFFD\x00"},
		"bad word":           {"Subject: =?utf-8?q?=ZZ?= =?nope?b?eA==?=\r\n\r\nx", "x\n", "", "=?utf-8?q?=ZZ?= =?nope?b?eA==?="},
		"bad base64":         {"Content-Transfer-Encoding: base64\r\n\r\naGVsbG8*x", "hel", "", ""},
		"bad qp":             {"Content-Transfer-Encoding: quoted-printable\r\n\r\nok=20=ZZ", "ok =ZZ\n", "", ""},
		"latin1":             {"Content-Type: text/plain; charset=iso-8859-1\r\n\r\nGr\xfc\xdfe", "Grüße\n", "", ""},
		"unknown charset":    {"Content-Type: text/html; charset=klingon\r\n\r\n<p>x</p>", "", "<p>x</p>\n", ""},
		"no boundary":        {"Content-Type: multipart/alternative\r\n\r\nx", "x\n", "", ""},
		"boundary not found": {"Content-Type: multipart/alternative; boundary=b\r\n\r\nx", "x\n", "", ""},
		"cut in a part": {
			"Content-Type: multipart/alternative; boundary=b\r\n\r\n--b\r\nContent-Type: text/html\r\n\r\n<p>half", "", "<p>half", "",
		},
		"attachment": {
			"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/plain\r\nContent-Disposition: attachment\r\n\r\nfile\r\n--b\r\nContent-Type: text/plain\r\n\r\nbody\r\n--b--",
			"body", "", "",
		},
		"deep":   {strings.Repeat("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n", 50) + "\r\nx", "", "", ""},
		"folded": {"Subject: one\r\n two\r\n\tthree\r\n\r\nx", "x\n", "", "one two three"},
	} {
		t.Run(name, func(t *testing.T) {
			deliver(t, m, "a@example.org", c.raw)
			id := m.List()[0].ID
			mail, err := m.Get(id)
			if err != nil {
				t.Fatal(err)
			}
			if name == "deep" {
				mail.Text = ""
			}
			if diff := cmp.Diff([]string{c.text, c.html, c.subject, "a@example.org"}, []string{mail.Text, mail.HTML, mail.Subject, mail.To}); diff != "" {
				t.Error(diff)
			}
			for _, path := range []string{"", "?view=text", "?view=headers", "?view=source", "/html", "/source"} {
				if w := fetch(t, m, "/mails/"+id+path); w.Code != 200 {
					t.Errorf("%s: %d %s", path, w.Code, w.Body)
				}
			}
		})
	}
	if fetch(t, m, "/mails/").Code != 200 || fetch(t, m, "/mails/api/mails").Code != 200 {
		t.Error("the list is broken")
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte("Subject: x\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\ntext\r\n--b--"))
	f.Add([]byte("From: =?iso-8859-1?q?=E9?=\n\nx"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		m := parse("20260101-000000-000000001", raw)
		if _, err := json.Marshal(m); err != nil {
			t.Error(err)
		}
		if m.HTML == "" && m.Text == "" {
			if _, body := splitHead(raw); len(body) != 0 {
				t.Errorf("a body of %d bytes shows nothing", len(body))
			}
		}
	})
}

// A mail can't run a script on the page, nor the page around its own HTML.
func TestMailsCannotRunScripts(t *testing.T) {
	m := open(t, t.TempDir(), 10)
	const evil = `"><script>alert(1)</script><img src=x onerror=alert(1)>`
	deliver(t, m, "a@example.org", compose(t, "d-1", "a@example.org", evil, evil, evil)+"\r\n")
	deliver(t, m, "a@example.org", "From: "+evil+"\r\nTo: "+evil+"\r\nSubject: "+evil+"\r\nX-Evil: "+evil+"\r\nMessage-ID: "+evil+"\r\n\r\n"+evil)
	for _, s := range m.List() {
		for _, path := range []string{"", s.ID, s.ID + "?view=text", s.ID + "?view=headers", s.ID + "?view=source"} {
			w := fetch(t, m, "/mails/"+path)
			body := w.Body.String()
			if strings.Contains(body, "<script>alert") || strings.Contains(body, "<img src=x") {
				t.Errorf("%q shows it as markup", path)
			}
			if !strings.Contains(body, "&lt;script&gt;alert(1)&lt;/script&gt;") {
				t.Errorf("%q doesn't show it at all", path)
			}
			policy := w.Header().Get("Content-Security-Policy")
			if !strings.Contains(policy, "default-src 'none'") || !strings.Contains(policy, "script-src 'sha256-") || strings.Contains(policy, "unsafe") {
				t.Errorf("policy %q", policy)
			}
		}
		if s.Subject != evil {
			t.Errorf("subject %q", s.Subject)
		}
		if w := fetch(t, m, "/mails/api/mails"); strings.Contains(w.Body.String(), "<script>") || w.Header().Get("Content-Type") != "application/json" {
			t.Errorf("the API: %s", w.Body)
		}
		w := fetch(t, m, "/mails/"+s.ID+"/html")
		policy := w.Header().Get("Content-Security-Policy")
		if !strings.HasPrefix(policy, "sandbox ") || strings.Contains(policy, "allow-scripts") || strings.Contains(policy, "allow-same-origin") || !strings.Contains(policy, "default-src 'none'") || strings.Contains(policy, "script-src") {
			t.Errorf("policy %q", policy)
		}
		if fetch(t, m, "/mails/"+s.ID+"/source").Header().Get("X-Content-Type-Options") != "nosniff" {
			t.Error("the source may be sniffed")
		}
	}
	if body := fetch(t, m, "/mails/"+m.List()[1].ID).Body.String(); !strings.Contains(body, `sandbox="allow-popups allow-popups-to-escape-sandbox"`) {
		t.Error("the frame has no sandbox")
	}
}

func TestLinksOpenInANewTab(t *testing.T) {
	for markup, want := range map[string]string{
		"<p>x</p>":                            `<!doctype html><base target="_blank"><p>x</p>`,
		"<!DOCTYPE html><HTML><HEAD><title>x": `<!DOCTYPE html><HTML><HEAD><base target="_blank"><title>x`,
		"<!doctype html>\n<p>x":               "<!doctype html><base target=\"_blank\">\n<p>x",
		"<!doctype":                           `<base target="_blank"><!doctype`,
		"İ<head>x":                            `<base target="_blank">İ<head>x`,
	} {
		if got := withTarget(markup); got != want {
			t.Errorf("%q: got %q, want %q", markup, got, want)
		}
	}
}

func TestEmptyPage(t *testing.T) {
	m := open(t, t.TempDir(), 10)
	server := httptest.NewServer(m.Handler())
	defer server.Close()
	ask := func(tag string) *http.Response {
		r, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/mails/", nil)
		r.Header.Set("If-None-Match", tag)
		resp, err := server.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		return resp
	}
	first := ask("")
	got, _ := io.ReadAll(first.Body)
	first.Body.Close()
	golden := filepath.Join("testdata", "empty.golden.html")
	if *update {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("run with -update to accept:\n%s", diff)
	}
	for _, bad := range []string{"http://", "src=\"/", "href=\"/"} {
		if strings.Contains(strings.ReplaceAll(string(got), "http://www.w3.org/2000/svg", ""), bad) {
			t.Errorf("the page holds %q: links are relative, assets its own", bad)
		}
	}
	if !strings.Contains(string(got), "No mail yet.") {
		t.Error("no empty state")
	}
	// Polling costs nothing until a mail comes.
	tag := first.Header.Get("ETag")
	again := ask(tag)
	again.Body.Close()
	deliver(t, m, "a@example.org", "Subject: x\r\n\r\nx")
	after := ask(tag)
	after.Body.Close()
	if again.StatusCode != http.StatusNotModified || after.StatusCode != http.StatusOK || after.Header.Get("ETag") == tag {
		t.Errorf("%d, then %d", again.StatusCode, after.StatusCode)
	}
}

func TestManyAtOnce(t *testing.T) {
	m := open(t, t.TempDir(), 1000)
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			for j := range 10 {
				deliver(t, m, "a@example.org", fmt.Sprintf("Subject: %d-%d\r\n\r\nx", i, j))
				_ = m.List()
			}
		})
	}
	all.Wait()
	seen := map[string]bool{}
	for _, s := range m.List() {
		seen[s.ID], seen[s.Subject] = true, true
	}
	if len(seen) != 160 {
		t.Errorf("%d ids and subjects, want 160", len(seen))
	}
}

func TestStartAndStop(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	m, err := Start(ctx, Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	m.served.Wait()
	if err := m.Close(); err != nil {
		t.Error(err)
	}
	for _, c := range []struct {
		config Config
		want   string
	}{
		{Config{SMTPAddr: "0.0.0.0:2525", Dir: "x"}, `smtp_addr is "0.0.0.0:2525"`},
		{Config{SMTPAddr: "example.org:25", Dir: "x"}, "this machine only"},
		{Config{SMTPAddr: "127.0.0.1", Dir: "x"}, "want host:port"},
		{Config{}, `dir is ""`},
		{Config{Dir: "x", Keep: -1}, "keep is -1"},
	} {
		if _, err := Start(t.Context(), c.config); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v", c.config, err)
		}
	}
}
