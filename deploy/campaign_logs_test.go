//go:build campaign

package deploy

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode"

	"promostore/format/generation"
	"promostore/internal/campaign"
)

// injections are texts that try to end a line of a log, or to begin one.
var injections = []string{
	"\n{\"time\":\"2026-11-27T00:00:00Z\",\"level\":\"ERROR\",\"msg\":\"injected\"}\n", "\",\"msg\":\"injected\",\"x\":\"", "\\\",\"msg\":\"injected\"}", "\r\n", "\r", "\x1b[2J\x1b[31m", "\x1b]0;title\a",
	"\u2028{\"msg\":\"injected\"}", "\u0085", "\u202e", "\xff\xfe\n", "\xc0\x8a", "\t", "\v\f", "\x7f", "%0a", "\\n", "\\u000a", "&lt;", "'$(id)'", "level=ERROR msg=injected", "\x9b31m",
}

// injection returns some injections with other text between them.
func injection(random *rand.Rand) string {
	var b strings.Builder
	for range 1 + random.IntN(3) {
		fmt.Fprintf(&b, "%x", random.Uint32())
		b.WriteString(campaign.Pick(random, injections))
	}
	return b.String()
}

// TestCampaignLogs injects text into logs through pins, names of inbox files,
// rows, headers, tokens and the output of a hook. Every event must remain one
// line of JSON.
func TestCampaignLogs(t *testing.T) {
	amount := campaign.Amount(t, 8_000)
	random := campaign.Random(t)
	data := t.TempDir()
	build(t, data, 0, 1000)

	inbox := filepath.Join(t.TempDir(), "inbox")
	hooked := filepath.Join(t.TempDir(), "hooked")
	u := startOpenUpdater(t, data, "--inbox", inbox, "--keep", "2", "--after-publish", "cat '"+hooked+"'")
	waitFor(t, "the inbox exists", func() bool { _, err := os.Stat(inbox); return err == nil })
	for lines(u) < amount/4 {
		name := filepath.Join(inbox, strings.ReplaceAll(injection(random), "/", "_")+".csv")
		row := injection(random) + "," + injection(random) + ",2022-06-04 06:01:20\n"
		if err := errors.Join(os.WriteFile(name+".part", []byte(row), 0o644), os.Rename(name+".part", name)); err != nil {
			t.Fatal(err)
		}
		output := strings.Repeat(injection(random)+"\n", 20)
		if err := os.WriteFile(hooked, []byte(output), 0o644); err != nil {
			t.Fatal(err)
		}
		if a := askUpdater(t, http.MethodPost, u.url+"/upload", id(uint64(lines(u)))+",1,2022-06-04 06:01:20\n"); a.status != http.StatusCreated && a.status != http.StatusConflict {
			t.Fatalf("upload: %d %s", a.status, a.text)
		}
		_, _ = converse(u.address(), fmt.Appendf(nil, "POST /upload?%s HTTP/1.1\r\nHost: evil\r\nAuthorization: Bearer %s\r\nConnection: close\r\n\r\n", row, injection(random)))
	}

	s := serve(t, data, "--poll", "2ms")
	pin := filepath.Join(data, generation.PinName)
	for lines(s) < amount-amount/4 {
		before := lines(s)
		list, err := generation.List(data)
		if err != nil {
			t.Fatal(err)
		}
		id := campaign.Pick(random, []string{list[0].ID.String(), "20200101T000000000Z", injection(random)})
		content, err := json.Marshal(map[string]string{"generation": id, "by": injection(random), "reason": injection(random), "at": "2026-11-27T00:00:00Z"})
		if err != nil {
			t.Fatal(err)
		}
		malformed := random.IntN(4) == 0 // its error may be that of the pin before, which is logged once
		if malformed {
			content = []byte(injection(random))
		}
		if err := errors.Join(os.WriteFile(pin+".new", content, 0o644), os.Rename(pin+".new", pin)); err != nil {
			t.Fatal(err)
		}
		_, _, _ = getPath(s.address(), "/promotions/"+injection(random))
		if !malformed {
			waitFor(t, "the log has another line", func() bool { return lines(s) > before })
		}
	}
	t.Logf("%d lines of the updater, %d of promoserve, each one event", wantEvents(t, u), wantEvents(t, s))
}

// lines returns the number of lines in the log of a server.
func lines(s *server) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.log)
}

// wantEvents checks that every line of a log is one event of the program. It
// returns the number of lines.
func wantEvents(t *testing.T, s *server) int {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, line := range s.log {
		decoder := json.NewDecoder(strings.NewReader(line))
		var event struct{ Time, Level, Msg string }
		err := decoder.Decode(&event)
		if err != nil || decoder.More() || event.Time == "" || event.Msg == "" || strings.Contains(event.Msg, "injected") ||
			strings.Count(line, `,"msg":"`) != 1 || strings.ContainsFunc(line, unicode.IsControl) {
			t.Errorf("%v: %q", err, line)
		}
	}
	return len(s.log)
}

// TestCampaignSeries sends odd requests. The metrics must keep their number of
// series.
func TestCampaignSeries(t *testing.T) {
	amount := campaign.Amount(t, 10_000)
	random := campaign.Random(t)
	data := t.TempDir()
	build(t, data, 0, 1000)
	for name, s := range map[string]*server{"promoserve": serve(t, data), "updater": startOpenUpdater(t, data)} {
		waitFor(t, "the server is ready", func() bool { a, err := get(s.url + "/readyz"); return err == nil && a.status == 200 })
		before := metrics(t, s)
		texts := make([]string, amount)
		for i := range texts {
			word := func() string {
				return strings.Map(func(r rune) rune {
					if unicode.IsControl(r) || r == ' ' {
						return 'x'
					}
					return r
				}, injection(random))
			}
			method := campaign.Pick(random, []string{"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH", "CONNECT", word()})
			path := campaign.Pick(random, []string{"/promotions/", "/uploads/", "/", "/upload?", "/status/", "/metrics?"})
			texts[i] = fmt.Sprintf("%s %s%s HTTP/1.1\r\nHost: %s\r\nUser-Agent: %s\r\nX-%x: %s\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", method, path, word(), word(), word(), random.Uint64(), word())
		}
		inParallel(t, amount, func(i int) {
			if _, err := converse(s.address(), []byte(texts[i])); err != nil {
				t.Errorf("%q: %v", texts[i], err)
			}
		})
		after := metrics(t, s)
		if len(after) != len(before) {
			for series := range after {
				if _, known := before[series]; !known {
					t.Errorf("%s: new series %s", name, series)
				}
			}
		}
		t.Logf("%s: %d requests; %d series before, %d after", name, amount, len(before), len(after))
	}
}
