//go:build system

package deploy

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/url"
	"slices"
	"strings"
	"testing"

	"promostore/format"
	"promostore/format/generation"
	"promostore/reader"
)

// spellings returns paths that name an id.
func spellings(random *rand.Rand, id string) []string {
	upper, plain := strings.ToUpper(id), strings.ReplaceAll(id, "-", "")
	list := []string{
		id, upper, plain, strings.ToUpper(plain), id[:18] + upper[18:],
		"{" + id + "}", "{" + upper + "}", "%7b" + id + "%7D",
		"urn:uuid:" + id, "URN:UUID:" + upper, "Urn:Uuid:" + id, "urn%3auuid%3A" + id,
		percent(id, func(int) bool { return true }),
		strings.ToUpper(percent(id, func(int) bool { return true })),
		percent(id, func(i int) bool { return i == 0 }),
		percent(upper, func(i int) bool { return i == len(id)-1 }),
	}
	for _, text := range []string{id, strings.ToUpper(plain), "{" + id + "}", "urn:uuid:" + upper} {
		list = append(list, percent(text, func(int) bool { return random.IntN(4) == 0 }))
	}
	for i := range list {
		list[i] = "/promotions/" + list[i]
	}
	return list
}

// TestShardProxyRoutesEverySpelling checks that ids reach the group that owns
// them, alone and in lookups.
func TestShardProxyRoutesEverySpelling(t *testing.T) {
	for _, c := range []struct {
		rule    format.ShardRule
		groups  []string
		changes []func(string) string
		ids     int
	}{
		{format.ShardLast, []string{"0-7", "8-f"}, nil, 1000},
		{format.ShardLast, []string{"0-3", "4-7", "8-b", "c-f"}, []func(string) string{forFourGroups}, 1000},
		{format.ShardFirst, []string{"0-7", "8-f"}, []func(string) string{byFirstDigit}, 1000},
		{format.ShardFirst, []string{"0-3", "4-7", "8-b", "c-f"}, []func(string) string{byFirstDigit, forFourGroups}, 200},
	} {
		dir := t.TempDir()
		live := idOf(t, build(t, dir, 0, minRows, "--shards", "16", "--shard-by", c.rule.String()))
		for name, p := range proxies {
			t.Run(fmt.Sprintf("%s, %d groups by the %s digit", name, len(c.groups), c.rule), func(t *testing.T) {
				needs(t, name)
				groups := parseDigits(t, c.groups...)
				var servers []*server
				generations := make([][]string, len(groups))
				for i, g := range groups {
					s := serve(t, dir, "--digits", g.String())
					servers = append(servers, s, s)
					generations[i] = []string{live}
					waitLive(t, s.url, live)
				}
				url := p.sharded(c.changes...).start(t, servers)
				waitGroups(t, url, groups, c.rule, generations...)
				before := foundOf(t, servers)
				want := wantSpellings(t, url, groups, c.rule, c.ids)
				for i, found := range foundOf(t, servers) {
					if got := found - before[i]; got != want[i/2] {
						t.Errorf("group %d found %d ids, want %d", i/2+1, got, want[i/2])
					}
				}
				wantUnknown(t, url, live)
				wantLookups(t, url, groups, c.rule)
				wantHidden(t, strings.TrimPrefix(url, "http://"), "/promotions")
			})
		}
	}
}

// foundOf returns the number of ids that each server has found.
func foundOf(t *testing.T, servers []*server) (found []int) {
	t.Helper()
	for _, s := range servers {
		found = append(found, int(metrics(t, s)[`promoserve_lookups_total{result="found"}`]))
	}
	return found
}

// wantSpellings requests every spelling of the first ids, and returns the number
// of requests for ids of each group.
func wantSpellings(t *testing.T, url string, groups []generation.Digits, rule format.ShardRule, ids int) (requests []int) {
	t.Helper()
	requests = make([]int, len(groups))
	paths := make([][]string, ids)
	random := rand.New(rand.NewPCG(1, 2))
	for i := range paths {
		key := keys(0).At(uint64(i))
		paths[i] = spellings(random, key.String())
		requests[groupOf(groups, rule, key)] += len(paths[i])
	}
	inParallel(t, ids, func(i int) {
		key := keys(0).At(uint64(i))
		for _, path := range paths[i] {
			if got, ok := parsePath(path); !ok || got != key {
				t.Errorf("%s is no spelling of %s", path, key)
			}
			a, err := getRaw(url, path)
			if err != nil || a.status != 200 || !strings.HasPrefix(a.body, `{"id":"`+key.String()) {
				t.Errorf("%s: %d %s, %v", path, a.status, a.body, err)
			}
		}
	})
	return requests
}

// parsePath returns the id that a path names.
func parsePath(path string) (format.Key, bool) {
	decoded, err := url.PathUnescape(path)
	id, ok := strings.CutPrefix(decoded, "/promotions/")
	if err != nil || !ok {
		return format.Key{}, false
	}
	return reader.ParseID([]byte(id))
}

// wantUnknown requests ids that no group has, and texts that are no ids.
func wantUnknown(t *testing.T, url, live string) {
	t.Helper()
	paths := []string{"", "x", "1", "deal", "LOOKUP", "%7b%7d", "a%3a", "{", "zz-zz", "-"}
	for i := range uint64(64) {
		known := keys(0).At(i).String()
		paths = append(paths, keys(1).At(i).String(), known+"0", known[:35], known[1:], "{"+known, known+"}", "urn:"+known, "urn:uuid:{"+known+"}")
	}
	for _, path := range paths {
		if a, err := getRaw(url, "/promotions/"+path); err != nil || a.status != 404 || a.generation != live {
			t.Errorf("%s: %d %s of generation %q, %v", path, a.status, a.body, a.generation, err)
		}
	}
	for _, path := range []string{"lookup/", "lookup/g", "lookup/00", "lookup/%2f", "lookup/0/"} {
		if a, err := getRaw(url, "/promotions/"+path); err != nil || a.status != 404 {
			t.Errorf("%s: %d %s, %v", path, a.status, a.body, err)
		}
	}
}

// wantLookups looks up ids in batches.
func wantLookups(t *testing.T, url string, groups []generation.Digits, rule format.ShardRule) {
	t.Helper()
	byDigit := map[string][]string{}
	for i := range uint64(2000) {
		key := keys(0).At(i)
		digit := fmt.Sprintf("%x", format.Sharding{Rule: rule, Shards: format.MinShards}.DigitOf(key))
		byDigit[digit] = append(byDigit[digit], key.String())
	}
	if len(byDigit) != 16 {
		t.Fatalf("ids have %d deciding digits", len(byDigit))
	}
	for digit, ids := range byDigit {
		for _, spelled := range []string{digit, strings.ToUpper(digit), percent(digit, func(int) bool { return true })} {
			a, err := lookup(url+"/promotions/lookup/"+spelled, ids)
			if err != nil || a.status != 200 || strings.Count(a.body, `{"id":"`) != len(ids) || !strings.HasSuffix(a.body, `"not_found":[]}`+"\n") {
				t.Errorf("lookup of %d ids with %s: %d %.200s, %v", len(ids), spelled, a.status, a.body, err)
			}
		}
	}
	// Another group owns the ids.
	if a, err := lookup(url+"/promotions/lookup/0", byDigit["f"]); err != nil || a.status != 421 || !strings.Contains(a.body, `"digits":"`+groups[0].String()+`"`) {
		t.Errorf("lookup of foreign ids: %d %s, %v", a.status, a.body, err)
	}
	// The proxy does not divide a batch.
	for _, path := range []string{"/promotions/lookup", "/promotions/l%6fokup"} {
		for _, ids := range [][]string{nil, byDigit["7"], slices.Repeat(byDigit["7"], 50), slices.Repeat(byDigit["7"], 200)} {
			a, err := lookup(url+path, ids)
			var body struct{ Error string }
			if err != nil || a.status != 421 || json.Unmarshal([]byte(a.body), &body) != nil || !strings.Contains(body.Error, "/promotions/lookup/D") {
				t.Errorf("lookup of %d ids at %s: %d %s, %v", len(ids), path, a.status, a.body, err)
			}
		}
	}
}

// TestShardProxyResistsTricks sends paths that a proxy and a server could read
// differently. If a server has the promotion that a path names, the proxy does
// not answer with the 404 or 421 of another server, nor with another promotion.
func TestShardProxyResistsTricks(t *testing.T) {
	dir := t.TempDir()
	live := idOf(t, build(t, dir, 0, minRows, "--shards", "16"))
	groups := parseDigits(t, "0-7", "8-f")
	var servers []*server
	for _, g := range groups {
		s := serve(t, dir, "--digits", g.String())
		servers = append(servers, s, s)
		waitLive(t, s.url, live)
	}
	random := rand.New(rand.NewPCG(3, 4))
	a, b := idOfGroup(groups, format.ShardLast, 0), idOfGroup(groups, format.ShardLast, 1)
	paths := append(tricks(a, b), tricks(b, a)...)
	for range 500 {
		paths = append(paths, randomTrick(random, a, b))
	}
	for name, p := range proxies {
		t.Run(name, func(t *testing.T) {
			needs(t, name)
			url := p.sharded().start(t, servers)
			waitGroups(t, url, groups, format.ShardLast, []string{live}, []string{live})
			served := 0
			for _, path := range paths {
				ask := func(url string) answer {
					res, body := exchange(t, url, "GET "+path+" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
					return answer{res.StatusCode, res.Header.Get("X-Promotions-Generation"), body}
				}
				got := ask(url)
				var known []answer
				for _, s := range []*server{servers[0], servers[2]} {
					if a := ask(s.url); a.status == 200 && a.generation != "" {
						known = append(known, a)
					}
				}
				byProxy := got.generation == "" && slices.Contains([]int{400, 404, 405, 421}, got.status)
				switch {
				case len(known) > 0 && got == known[0], byProxy:
				case len(known) == 0 && got.status == 404:
				default:
					t.Errorf("%q: %+v; the servers have %+v", path, got, known)
				}
				if got.status == 200 {
					served++
				}
			}
			if served < 20 {
				t.Errorf("%d of %d paths are served", served, len(paths))
			}
		})
	}
}

// tricks returns paths with two ids. If a path names a promotion, it is own.
func tricks(own, other string) []string {
	return []string{
		"/promotions/" + own, "http://x/promotions/" + own, "http://" + other + "/promotions/" + own, "//x/promotions/" + own,
		"/promotions/" + own + "?" + other, "/promotions/" + own + "?id=/promotions/" + other, "/promotions/" + own + "?%23" + other,
		"/promotions/" + own + "#" + other, "/promotions/" + own + "%23" + other, "/promotions/" + own + "%3f" + other, "/promotions/" + own + "%3F",
		"/promotions/" + own + ";" + other, "/promotions/" + own + ";id=" + other, "/promotions/" + own + "," + other, "/promotions/" + own + "&" + other,
		"/promotions/" + other + "/../" + own, "/promotions/" + other + "/%2e%2e/" + own, "/promotions/" + other + "%2f..%2f" + own, "/promotions/" + other + "/..%2F" + own,
		"/promotions/" + other + "/./../" + own, "/promotions/" + other + "//../" + own, "/promotions/" + other + "/..//" + own, "/" + other + "/../promotions/" + own,
		"/promotions//" + own, "//promotions/" + own, "/./promotions/" + own, "/promotions/./" + own, "/promotions/" + own + "/", "/promotions/" + own + "/.", "/promotions/" + own + "//",
		"/promotions/" + own + "/" + other, "/promotions/" + own + "/..", "/promotions/" + own + "/" + other + "/..", "/promotions/" + own + "/../" + other + "/../" + own,
		"/promotions/lookup/" + own, "/promotions/lookup/../" + own, "/promotions/lookup/" + other[35:] + "/../../" + own, "/promotions/lookup/" + other[35:] + "/" + own,
		"/promotions/{" + own, "/promotions/" + own + "}", "/promotions/{" + own + "}}", "/promotions/{" + own + "}" + other, "/promotions/{" + own + "}/" + other, "/promotions/%7b" + own + "%7d?" + other,
		"/promotions/urn:uuid:" + own, "/promotions/urn%3Auuid%3a" + own, "/promotions/urn:uuid:{" + own + "}", "/promotions/uuid:" + own, "/promotions/urn:uuid:urn:uuid:" + own,
		"/promotions/" + own[:35] + "%25" + fmt.Sprintf("%x", own[35]), "/promotions/" + own[:35] + "%u00" + fmt.Sprintf("%x", own[35]), "/promotions/" + own[:35] + "%" + fmt.Sprintf("%x", own[35]),
		"/promotions/" + own[:35] + "%", "/promotions/" + own[:35] + "%3", "/promotions/" + own[:35] + "%zz", "/promotions/" + own + "%", "/promotions/" + own + "%0",
		"/promotions/" + own + "%00", "/promotions/" + own + "%00" + other, "/promotions/" + own + "\x00", "/promotions/%00" + own, "/promotions/%00/../" + own,
		"/promotions/" + own + "%0a", "/promotions/" + own + "%0A" + other, "/promotions/" + own + "%0d%0a", "/promotions/" + own + "%20", "/promotions/" + own + "+", "/promotions/+" + own,
		"/promotions/" + own + "%09", "/promotions/" + own + "%7f", "/promotions/" + own + "%5c..%5c" + other, "/promotions/" + other + "\\..\\" + own, "/promotions\\" + own,
		"/promotions/" + own[:35] + "%c0%b0", "/promotions/" + own[:35] + "\xef\xbc\x91", "/promotions/" + own[:35] + "%ef%bc%91", "/promotions/" + own + "\xff", "/promotions/" + own + "\u2024",
		"/promotions%2f" + own, "/promotions%2F" + own, "/%70romotions/" + own, "/PROMOTIONS/" + own, "/promotions/" + own + "*", "/promotions/*" + own, "/promotions/" + own + "~", "*",
	}
}

// randomTrick returns a path of parts of others.
func randomTrick(random *rand.Rand, a, b string) string {
	pick := func(list ...string) string { return list[random.IntN(len(list))] }
	path := "/promotions"
	for range 1 + random.IntN(3) {
		part := pick(a, b, a, b, a, b, "..", ".", "", "lookup", "promotions", "0", "f")
		if random.IntN(2) == 0 {
			part = percent(part, func(int) bool { return random.IntN(6) == 0 })
		}
		path += pick("/", "/", "/", "/", "//", "/./", "/../", "%2f", "/%2e%2e/", ";", "?", "#", "%23", "%00", "%25", "\\") + part
	}
	return path
}
