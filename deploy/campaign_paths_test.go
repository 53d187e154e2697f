//go:build campaign

package deploy

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"promostore/internal/campaign"
)

// Parts of paths. Those with internal endpoints must not be reached.
var (
	internal   = []string{"status", "metrics", "prometheus", "readyz", "debug/pprof/", "debug/pprof/heap", "debug/pprof/cmdline", "version", "upload", "healthz", "activity", "generations", "assets/x", "openapi.json"}
	separators = []string{"/", "/", "//", "/./", "/../", "/x/../", "/.//", "\\", "/..\\", "%2f", "%2F", "%5c", "%252f", "/%2e/", "/%2e%2e/", "/%2E%2e%2f", "/..;/", "/;/", "/.%00/", "%c0%af", "/%c0%ae%c0%ae/", "/\u2025/", "\uff0f", "/..%c0%af", "/..%ef%bc%8f"}
	tails      = []string{"", "", "", "?", "?x=/status", "#", "#/status", ";x", "%00", "%00/status", "\x00", "/", "/.", "/..", "%20", "%0d%0aHost:%20x", "%", "%zz", "%u002f", "..", "~", "*", "\u00e9", "\xff"}
	hosts      = []string{"", "", "", "", "http://x", "http://x:1321", "http://127.0.0.1", "https://x", "//x", "HTTP://X"}
)

// randomPath returns a path that is like that of a promotion, or tries to reach
// another endpoint.
func randomPath(random *rand.Rand, id string) string {
	encode := func(text string) string {
		var b strings.Builder
		often := 2 + random.IntN(20)
		for _, c := range []byte(text) {
			switch random.IntN(often * 4) {
			case 0:
				fmt.Fprintf(&b, "%%%02x", c)
			case 1:
				fmt.Fprintf(&b, "%%%02X", c)
			case 2:
				b.WriteString(strings.ToUpper(string(rune(c))))
			case 3:
				fmt.Fprintf(&b, "%%25%02x", c)
			default:
				b.WriteByte(c)
			}
		}
		return b.String()
	}
	switch random.IntN(6) {
	case 0:
		id = strings.ToUpper(id)
	case 1:
		id = "{" + id + "}"
	case 2:
		id = "urn:uuid:" + id
	case 3:
		id = strings.ReplaceAll(id, "-", "")
	case 4: // another id, or none
		b := []byte(id)
		b[random.IntN(len(b))] = campaign.Pick(random, []byte("0123456789abcdef-g\x00"))
		id = string(b)
	}
	path := "/"
	parts := []string{"promotions", id}
	faults := random.IntN(3) // 0: only the spelling is unusual
	if faults > 0 {
		path = campaign.Pick(random, hosts) + "/"
	}
	for range faults {
		parts = slices.Insert(parts, random.IntN(len(parts)+1), campaign.Pick(random, append(internal, "..", ".", "promotions", id, "lookup")))
	}
	for i, part := range parts {
		if i > 0 {
			path += campaign.Pick(random, separators[:1+faults*(len(separators)-1)/2])
		}
		if random.IntN(2) == 0 {
			part = encode(part)
		}
		path += part
	}
	return path + campaign.Pick(random, tails)
}

// named reports whether a path, decoded as often as possible, has a segment that
// is a spelling of id.
func named(path, id string) bool {
	for range 3 {
		if decoded, err := url.PathUnescape(path); err == nil {
			path = decoded
		}
	}
	path, _, _ = strings.Cut(path, "?")
	path, _, _ = strings.Cut(path, "#")
	for _, segment := range strings.FieldsFunc(path, func(r rune) bool { return r == '/' || r == '\\' }) {
		if u, err := uuid.Parse(segment); err == nil && u.String() == id {
			return true
		}
	}
	return false
}

// TestCampaignPaths requests paths through the proxies. The answer is the
// promotion that the path names, or an error, and never that of another endpoint.
func TestCampaignPaths(t *testing.T) {
	amount := campaign.Amount(t, 24_000)
	rows := modelOf(t, 0, minRows)
	answers := map[string]bool{}
	for _, json := range rows.json {
		answers[json+"\n"] = true
	}
	for name, p := range campaignProxies() {
		t.Run(name, func(t *testing.T) {
			needs(t, p.program)
			random := campaign.Random(t)
			dir := t.TempDir()
			generation := idOf(t, build(t, dir, 0, minRows, "--shards", "16"))
			low, high := serve(t, dir), serve(t, dir)
			if p.shards {
				low, high = serve(t, dir, "--digits", "0-7"), serve(t, dir, "--digits", "8-f")
			}
			waitLive(t, low.url, generation)
			waitLive(t, high.url, generation)
			address := strings.TrimPrefix(p.start(t, []*server{low, low, high, high}), "http://")
			waitFor(t, "the proxy answers", func() bool { _, err := get("http://" + address); return err == nil })
			paths := make([]string, amount)
			for i := range paths {
				paths[i] = randomPath(random, campaign.Pick(random, rows.ids))
			}
			codes := make([]int, amount)
			inParallel(t, amount, func(i int) {
				code, body, err := getPath(address, paths[i])
				codes[i] = code
				switch {
				case err != nil:
					t.Errorf("%q: %v", paths[i], err)
				case code == 200 && answers[body] && named(paths[i], body[len(`{"id":"`):][:36]):
				case code == 421 && strings.Contains(body, `"digits"`):
					t.Errorf("%q reaches another group: %s", paths[i], body)
				case code < 400 || code >= 500 && code != http.StatusHTTPVersionNotSupported, strings.Contains(body, "promoserve_") || strings.Contains(body, "goroutine"):
					t.Errorf("%q: %d %.300q", paths[i], code, body)
				}
			})
			count := map[int]int{}
			for _, code := range codes {
				count[code]++
			}
			t.Logf("%d paths; answers by status code: %v", amount, count)
			wantHealthy(t, low)
			wantHealthy(t, high)
		})
	}
}

// getPath requests a path as it is.
func getPath(address, path string) (code int, body string, err error) {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return 0, "", err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", path); err != nil {
		return 0, "", err
	}
	got, err := io.ReadAll(conn)
	if err != nil && len(got) == 0 {
		return 0, "", err
	}
	res, err := http.ReadResponse(bufio.NewReader(bytes.NewReader(got)), nil)
	if err != nil {
		return 0, "", err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	return res.StatusCode, string(text), err
}
