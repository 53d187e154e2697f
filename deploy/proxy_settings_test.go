package deploy

import (
	"slices"
	"strings"
	"testing"
)

// TestShardProxiesKeepSettings checks that the configurations for groups of
// servers have all limits, timeouts and rules of those for one group.
func TestShardProxiesKeepSettings(t *testing.T) {
	for path, except := range map[string][]string{
		"proxy/haproxy.cfg": nil,
		"proxy/nginx.conf":  {"location /promotions/ {", "proxy_pass http://group1;", "location = /promotions {", `location ~ ^/promotions/.*/history\z {`},
	} {
		of := strings.Split(readFile(t, strings.Replace(path, ".", "-shards.", 1)), "\n")
		for line := range strings.Lines(readFile(t, path)) {
			directive, _, _ := strings.Cut(line, " #")
			directive = strings.TrimSpace(strings.ReplaceAll(directive, "servers", "group1"))
			if strings.HasPrefix(directive, "#") || slices.Contains(except, directive) {
				continue
			}
			if !slices.ContainsFunc(of, func(l string) bool { return strings.HasPrefix(strings.TrimSpace(l), directive) }) {
				t.Errorf("the configuration for groups lacks %q of %s", directive, path)
			}
		}
	}
}
