//go:build campaign

package deploy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"

	"promostore/internal/campaign"
)

// Requests to mutate, in which %s is an ID, and what mutations insert.
var (
	serverRequests = []string{
		"GET /promotions/%s HTTP/1.1\r\nHost: x\r\nIf-None-Match: \"c23cbacd640a9917\"\r\nAccept-Encoding: gzip\r\n\r\n",
		"HEAD /promotions/{%s} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
		"POST /promotions/lookup HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 83\r\n\r\n{\"ids\":[\"%s\",\"172FFC14-D229-4C93-B06B-F48B8C095512\"]}",
		"POST /promotions/lookup HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n30;x=y\r\n{\"ids\":[\"%s\"]}\r\n0\r\nX: y\r\n\r\n",
		"GET /metrics HTTP/1.1\r\nHost: x\r\nCookie: a=b\r\n\r\nGET /status HTTP/1.0\r\n\r\n",
		"OPTIONS /promotions/%s HTTP/1.1\r\nHost: x\r\nOrigin: http://y\r\n\r\n",
	}
	updaterRequests = []string{
		"POST /upload HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/csv\r\nContent-Length: 63\r\n\r\n%s,9.68,2022-06-04 06:01:20\n",
		"POST /upload HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nPrefer: respond-async\r\n\r\n3f\r\n%s,9.68,2022-06-04 06:01:20\r\n\r\n0\r\n\r\n",
		"POST /upload HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: 168\r\n\r\n--b\r\nContent-Disposition: form-data; name=\"data\"; filename=\"a.csv\"\r\nContent-Type: text/csv\r\n\r\n%s,9.68,2022-06-04 06:01:20\r\n--b--\r\n",
		"POST /upload HTTP/1.1\r\nHost: localhost\r\nContent-Encoding: gzip\r\nContent-Length: 20\r\n\r\n\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\x03\x00\x00\x00\x00\x00\x00\x00\x00\x00",
		"GET /status HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\n\r\nGET /uploads/01J HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"GET /readyz HTTP/1.1\r\nHost: localhost\r\nOrigin: http://localhost\r\nSec-Fetch-Site: cross-site\r\n\r\n",
	}
	fragments = []string{
		"\r\n", "\n", "\r", "\x00", "\xff\xfe", " ", ":", "\"", "\\", "{", "[", "]}", ",", "%", "%00", "/../", "HTTP/1.1", "Host: x\r\n", "Content-Length: 0\r\n", "Content-Length: 9999999999\r\n",
		"Transfer-Encoding: chunked\r\n", "Connection: keep-alive\r\n", "Expect: 100-continue\r\n", "Range: bytes=0-\r\n", "Content-Range: bytes 0-1/2\r\n", "Upgrade: websocket\r\n", "Content-Encoding: zstd\r\n",
		"-1", "18446744073709551616", "1e999", "null", "\u2028", "--b\r\n", "filename=\"../../x\"", "boundary=", "Bearer ", "\x28\xb5\x2f\xfd\x00\x00\x01\x00\x00", "\x16\x03\x01\x02\x00\x01",
	}
)

// mutate returns a request with some damage.
func mutate(random *rand.Rand, text string, others []string) []byte {
	b := []byte(text)
	for range random.IntN(6) {
		at := random.IntN(len(b) + 1)
		end := min(len(b), at+1+random.IntN(8))
		switch random.IntN(7) {
		case 0:
			b = append(b[:at:at], b[end:]...)
		case 1:
			b = append(b[:end:end], b[at:]...)
		case 2:
			if at < len(b) {
				b[at] ^= 1 << random.IntN(8)
			}
		case 3:
			b = append(b[:at:at], append(bytes.Repeat(b[at:end], 1+random.IntN(2000)), b[end:]...)...)
		case 4:
			other := campaign.Pick(random, others)
			b = append(b[:at:at], other[min(at, len(other)):]...)
		default:
			b = append(b[:at:at], append([]byte(campaign.Pick(random, fragments)), b[end:]...)...)
		}
	}
	return b
}

// TestCampaignRequests sends mutated requests to promoserve and to the updater.
// Both must live on with the same memory and the same number of goroutines.
func TestCampaignRequests(t *testing.T) {
	rows := modelOf(t, 0, minRows)
	t.Run("promoserve", func(t *testing.T) {
		dir := t.TempDir()
		build(t, dir, 0, minRows)
		s := serve(t, dir)
		waitFor(t, "the server is ready", func() bool { a, err := get(s.url + "/readyz"); return err == nil && a.status == 200 })
		sendMutants(t, s, rows.ids, campaign.Amount(t, 14_500), serverRequests)
		for i := range 100 {
			if a, err := get(s.url + "/promotions/" + rows.ids[i]); err != nil || a.body != rows.json[i]+"\n" {
				t.Errorf("afterwards: %d %s, %v", a.status, a.body, err)
			}
		}
	})
	t.Run("updater", func(t *testing.T) {
		s := startOpenUpdater(t, t.TempDir(), "--keep", "2", "--allow-empty", "--stall-timeout", "2s")
		sendMutants(t, s, rows.ids, campaign.Amount(t, 6_900), updaterRequests)
		waitFor(t, "the updater builds an upload", func() bool {
			a := askUpdater(t, "POST", s.url+"/upload", rows.ids[0]+",1,2022-06-04 06:01:20\n")
			return a.status == 201 && a.Records == 1
		})
	})
}

// sendMutants sends mutants of requests, after a tenth as many that warm the
// server up.
func sendMutants(t *testing.T, s *server, ids []string, amount int, requests []string) {
	random := campaign.Random(t)
	answered := 0
	send := func(n int) {
		mutants := make([][]byte, n)
		for i := range mutants {
			text := campaign.Pick(random, requests)
			if strings.Contains(text, "%s") {
				text = fmt.Sprintf(text, campaign.Pick(random, ids))
			}
			mutants[i] = mutate(random, text, requests)
		}
		lens := make([]int, n)
		inParallel(t, n, func(i int) {
			got, err := converse(s.address(), mutants[i])
			if err != nil {
				t.Errorf("%.500q: %v", mutants[i], err)
			}
			lens[i] = len(got)
		})
		for _, n := range lens {
			if n > 0 {
				answered++
			}
		}
	}
	goroutines := int(metrics(t, s)["go_goroutines"]) + 3
	send(max(100, amount/10))
	before := idle(t, s, goroutines)
	answered = 0
	send(amount)
	after := idle(t, s, goroutines)
	t.Logf("%d mutants, %d answered; goroutines %d -> %d, resident memory %d -> %d KiB, open files %d -> %d",
		amount, answered, before.goroutines, after.goroutines, before.resident, after.resident, before.files, after.files)
	if after.files > before.files+5 || after.resident > before.resident+32<<10 {
		t.Errorf("usage before %+v, after %+v", before, after)
	}
	wantNoPanic(t, s)
}

// usage holds the resources of a server.
type usage struct{ goroutines, resident, files int } // resident in KiB

// idle returns the resources of a server once it has few goroutines. It keeps
// those of connections for some seconds.
func idle(t *testing.T, s *server, goroutines int) (u usage) {
	t.Helper()
	waitFor(t, fmt.Sprintf("the server has at most %d goroutines", goroutines), func() bool {
		u.goroutines = int(metrics(t, s)["go_goroutines"])
		return u.goroutines <= goroutines
	})
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "VmRSS:")
	u.resident, err = strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	u.files = len(entries)
	return u
}

// wantNoPanic checks that the log of a server has no panic and no line that is
// not JSON.
func wantNoPanic(t *testing.T, s *server) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, text := range s.log {
		var line struct{ Msg string }
		if err := json.Unmarshal([]byte(text), &line); err != nil || strings.Contains(line.Msg, "panic") {
			t.Errorf("%v: %s", err, text)
		}
	}
	if conn, err := net.Dial("tcp", s.address()); err != nil {
		t.Error(err)
	} else {
		conn.Close()
	}
}
