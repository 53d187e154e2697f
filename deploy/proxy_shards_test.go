//go:build system

package deploy

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"promostore/format"
	"promostore/format/generation"
)

// swapComments turns the lines that match a pattern into comments, and those of
// them that are comments into directives.
func swapComments(text, pattern string) string {
	match := regexp.MustCompile(pattern)
	var b strings.Builder
	for line := range strings.Lines(text) {
		if match.MatchString(line) {
			directive := strings.TrimLeft(line, "\t")
			indent := line[:len(line)-len(directive)]
			if active, ok := strings.CutPrefix(directive, "#"); ok {
				line = indent + active
			} else {
				line = indent + "#" + directive
			}
		}
		b.WriteString(line)
	}
	return b.String()
}

// byFirstDigit changes a configuration to that for --shard-by first.
func byFirstDigit(text string) string {
	return swapComments(text, `set-var\(txn\.digit\)|" \$(last|first);`)
}

var secondGroup = regexp.MustCompile(`(?ms)^\t?(backend|upstream) group2 .*?\n\n`)

// forFourGroups changes a configuration from two groups to four. Their servers
// have the addresses 10.0.0.11 to 10.0.0.18.
func forFourGroups(text string) string {
	text = swapComments(text, `use_backend group|" group\d;`)
	return secondGroup.ReplaceAllStringFunc(text, func(group string) string {
		return group +
			strings.NewReplacer("group2", "group3", "0.13", "0.15", "0.14", "0.16").Replace(group) +
			strings.NewReplacer("group2", "group4", "0.13", "0.17", "0.14", "0.18").Replace(group)
	})
}

// parseDigits returns the digits of each group.
func parseDigits(t *testing.T, groups ...string) (digits []generation.Digits) {
	t.Helper()
	for _, text := range groups {
		d, err := generation.ParseDigits(text)
		if err != nil {
			t.Fatal(err)
		}
		digits = append(digits, d)
	}
	return digits
}

// groupOf returns the number of the group that owns an id.
func groupOf(groups []generation.Digits, rule format.ShardRule, key format.Key) int {
	digit := format.Sharding{Rule: rule, Shards: format.MinShards}.DigitOf(key)
	return slices.IndexFunc(groups, func(d generation.Digits) bool { return d.Has(digit) })
}

// waitGroups waits until the proxy at url has answers of all generations of each
// group.
func waitGroups(t *testing.T, url string, groups []generation.Digits, rule format.ShardRule, generations ...[]string) {
	t.Helper()
	for i := range groups {
		id := idOfGroup(groups, rule, i)
		for range 20 {
			for _, g := range generations[i] {
				waitFor(t, fmt.Sprintf("group %d serves %s", i+1, g), func() bool {
					a, err := get(url + "/promotions/" + id)
					return err == nil && a.generation == g
				})
			}
		}
	}
}

// idOfGroup returns an id of data set 0 that a group owns.
func idOfGroup(groups []generation.Digits, rule format.ShardRule, number int) string {
	for i := uint64(0); ; i++ {
		if key := keys(0).At(i); groupOf(groups, rule, key) == number {
			return key.String()
		}
	}
}

// lookUp looks up ids that end with a digit in one request, and checks the answer.
func (d *dataSets) lookUp(url string, digit int) error {
	_, _, count := d.seedOf("")
	seed := rand.Uint64N(uint64(count))
	var ids []string
	for i := rand.Uint64N(minRows / 2); len(ids) < 10; i++ {
		if key := keys(seed).At(i); (format.Sharding{Rule: format.ShardLast, Shards: format.MinShards}).DigitOf(key) == digit {
			ids = append(ids, key.String())
		}
	}
	a, err := lookup(fmt.Sprintf("%s/promotions/lookup/%x", url, digit), ids)
	if err != nil {
		return err
	}
	want := 0
	if of, known := d.await(a.generation); known && of == seed {
		want = len(ids)
	}
	if found := strings.Count(a.body, `{"id":"`); a.status != http.StatusOK || found != want {
		return fmt.Errorf("lookup in generation %q: status %d, %d of %d ids found, want %d: %s", a.generation, a.status, found, len(ids), want, a.body)
	}
	return nil
}

// TestShardProxy checks that no request fails while servers of all groups stop,
// are killed and change generations, and that the loss of a group affects only
// its ids.
func TestShardProxy(t *testing.T) {
	for name, p := range proxies {
		t.Run(name, func(t *testing.T) {
			needs(t, name)
			groups := parseDigits(t, "0-7", "8-f")
			var all dataSets
			var dirs []string
			var servers []*server
			generations := make([][]string, len(groups))
			update := func(i int, seed uint64) {
				t.Helper()
				g := idOf(t, build(t, dirs[i], seed, minRows, "--shards", "16"))
				all.add(g, seed)
				generations[i/2][i%2] = g
			}
			start := func(i int, flags ...string) *server {
				t.Helper()
				flags = append(flags, "--digits", groups[i/2].String(), "--drain", "2s")
				return serve(t, dirs[i], flags...)
			}
			for i := range 2 * len(groups) {
				generations[i/2] = append(generations[i/2], "")
				dirs = append(dirs, t.TempDir())
				update(i, uint64(i))
				servers = append(servers, start(i))
			}
			url := p.sharded().start(t, servers)
			restart := func(i int) {
				t.Helper()
				servers[i] = start(i, "--listen", servers[i].address())
			}
			wait := func(generations ...[]string) {
				t.Helper()
				waitGroups(t, url, groups, format.ShardLast, generations...)
			}
			wait(generations...)
			stop := all.ask(t, url)
			stopLookups := repeat(t, func() error { return all.lookUp(url, rand.IntN(16)) })

			// One server of each group stops, the other changes generation.
			servers[0].stop(syscall.SIGTERM)
			servers[2].stop(syscall.SIGTERM)
			update(1, 4)
			update(3, 5)
			wait(generations[0][1:], generations[1][1:])
			restart(0)
			restart(2)
			wait(generations...)

			servers[1].stop(syscall.SIGKILL)
			servers[3].stop(syscall.SIGKILL)
			wait(generations[0][:1], generations[1][:1])
			restart(1)
			restart(3)
			wait(generations...)
			stop()
			stopLookups()

			// The first group is gone.
			servers[0].stop(syscall.SIGKILL)
			servers[1].stop(syscall.SIGKILL)
			for i := range uint64(1000) {
				seed := rand.Uint64N(6)
				key := keys(seed).At(i)
				a, err := get(url + "/promotions/" + key.String())
				if err != nil {
					t.Fatal(err)
				}
				if groupOf(groups, format.ShardLast, key) == 1 {
					if err := all.check(a, seed); err != nil {
						t.Fatal(err)
					}
				} else if want := `{"error":"no server of the group answers"}`; a.status != http.StatusServiceUnavailable || a.body != want {
					t.Fatalf("%s without its group: %d %s, want 503 %s", key, a.status, a.body, want)
				}
			}
			res, _ := exchange(t, url, "GET /promotions/"+idOfGroup(groups, format.ShardLast, 0)+" HTTP/1.1\r\nHost: x\r\n\r\n")
			if got := res.Header.Get("Retry-After"); got != "1" {
				t.Errorf("Retry-After %q", got)
			}
			if name == "haproxy" {
				wantHealth := func(code int) {
					t.Helper()
					waitFor(t, fmt.Sprintf("/healthz answers %d", code), func() bool {
						a, err := get(url + "/healthz")
						return err == nil && a.status == code
					})
				}
				wantHealth(200)
				servers[2].stop(syscall.SIGKILL)
				servers[3].stop(syscall.SIGKILL)
				wantHealth(503)
				restart(2)
				restart(3)
				wantHealth(200)
			}
			restart(0)
			restart(1)
			wait(generations...)
		})
	}
}
