package deploy

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// groups has the digits of the groups in each component of kubernetes/groups.
var groups = map[string][]string{
	"two":  {"0-7", "8-f"},
	"four": {"0-3", "4-7", "8-b", "c-f"},
}

// TestRouterConfig checks that the router in a cluster has the configuration of
// HAProxy in front of groups, adapted to pods.
func TestRouterConfig(t *testing.T) {
	for name, digits := range groups {
		path := routerFile(name)
		want := routerConfig(t, readFile(t, "proxy/haproxy-shards.cfg"), digits)
		if *update {
			if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if readFile(t, path) != want {
			t.Errorf("%s differs from haproxy-shards.cfg; run make golden", path)
		}
	}
}

// routerFile returns the path of the configuration for a component.
func routerFile(name string) string { return filepath.Join("kubernetes/groups", name, "haproxy.cfg") }

// podsOf returns the directive for the pods of a group.
func podsOf(digits string) string {
	return fmt.Sprintf("server-template pod %d \"promo-api-%s.${NAMESPACE}.svc.cluster.local:1321\" resolvers cluster init-addr none", podsPerGroup, digits)
}

// podsPerGroup is the largest number of pods that the router uses of a group.
const podsPerGroup = 40

const routerHead = `# Generated from deploy/proxy/haproxy-shards.cfg by "make golden". Do not edit this
# file. PROMO_SHARD_BY is that of the updater, and NAMESPACE that of the pod.

`

// routerResolvers precedes the groups. HAProxy does not complete names, so they have
// the default domain of clusters.
const routerResolvers = `# The addresses of the ready pods of each group.
resolvers cluster
	parse-resolv-conf
	accepted_payload_size 8192
	hold valid 1s

`

// routerConfig returns the configuration of the router for the digits of the groups.
func routerConfig(t *testing.T, config string, digits []string) string {
	t.Helper()
	replace := func(expr, to string) {
		t.Helper()
		re := regexp.MustCompile("(?m)" + expr)
		if n := len(re.FindAllString(config, -1)); n != 1 {
			t.Fatalf("%d matches of %s", n, expr)
		}
		config = re.ReplaceAllString(config, to)
	}
	// The user of a pod is in its manifest.
	replace(`^\tuser haproxy\n\tgroup haproxy\n`, "\tfd-hard-limit 40000 # the limit of a container may be a billion, which takes all memory\n\thard-stop-after 30s\n")
	replace(`^\tbind :80\n\t#bind :443 .*\n`, "\tbind :8080\n")
	replace(`^\toption dontlog-normal .*\n`, "$0\toption dontlognull # connections of probes\n")
	var selection, alive string
	for i, d := range digits {
		selection += fmt.Sprintf("\tuse_backend group%d if { var(txn.digit) -m reg ^%s$ }\n", i+1, class(d))
		alive += fmt.Sprintf(" { nbsrv(group%d) eq 0 }", i+1)
	}
	replace(`^(\tmonitor fail if).*$`, "${1}"+alive)
	replace(`(^\t#?use_backend .*\n)+`, strings.ReplaceAll(selection, "$", "$$"))
	last := regexp.MustCompile(`(?m)^\t(http-response return status 421 .*)\n(?:\t# .*\n)*\t(http-request set-var\(txn.digit\) .*)\n\t# With --shard-by first.*\n\t#(http-request set-var\(txn.digit\) .*)\n`)
	m := last.FindStringSubmatch(config)
	if m == nil {
		t.Fatal("no rules for the digit")
	}
	config = strings.Replace(config, m[0], fmt.Sprintf(".if streq(\"${PROMO_SHARD_BY}\",first)\n\t%s\n\t%s\n.else\n\t%s\n\t%s\n.endif\n",
		strings.Replace(m[1], "last hex digit", "first hex digit", 1), m[3], m[1], m[2]), 1)

	parts := strings.Split(strings.TrimSpace(config), "\n\n")
	parts = slices.DeleteFunc(parts, func(part string) bool {
		return !regexp.MustCompile(`(?m)^(global|defaults .*|frontend api .*)$`).MatchString(part)
	})
	config = routerHead + strings.Join(parts, "\n\n") + "\n\n" + routerResolvers
	for i, d := range digits {
		config += fmt.Sprintf("backend group%d from group\n\t%s\n\n", i+1, podsOf(d))
	}
	return strings.TrimSuffix(config, "\n")
}

// class returns the class of a regular expression for a range of digits.
func class(digits string) string {
	first, last, _ := strings.Cut(digits, "-")
	if first <= "9" && last > "9" {
		return fmt.Sprintf("[%s-9a-%s]", first, last)
	}
	return "[" + digits + "]"
}
