//go:build system

package httpd_test

import (
	"errors"
	"os/exec"
	"strings"
	"testing"

	"promostore/httpd"
	"promostore/reader"
	"promostore/web"
)

// TestPromtool has Prometheus's own tool read the metrics, with and without a
// generation and a certificate. It may miss help texts, which the metrics of
// the library lack, and nothing else.
func TestPromtool(t *testing.T) {
	certs, err := web.SelfSigned()
	must(t, err)
	for name, f := range map[string]*fixture{
		"empty":  newFixture(t, httpd.Options{}, reader.StoreOptions{}),
		"served": newFixture(t, httpd.Options{Certificates: certs}, reader.StoreOptions{}),
	} {
		if name == "served" {
			publish(t, f.dir, genID(0), rows)
			f.poll(t)
		}
		f.listen(t)
		f.get(t, "/promotions/"+exampleID)
		check := exec.Command("promtool", "check", "metrics")
		check.Stdin = strings.NewReader(f.get(t, "/prometheus").body)
		out, err := check.CombinedOutput()
		if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		complaints := 0
		for line := range strings.Lines(string(out)) {
			switch {
			case !strings.Contains(line, "no help text"):
				t.Errorf("%s: %s", name, line)
			case strings.HasPrefix(line, "promoserve_"):
				t.Errorf("%s: one of ours: %s", name, line)
			default:
				complaints++
			}
		}
		if complaints == 0 {
			t.Errorf("%s: promtool misses no help text: has it read anything? %v\n%s", name, err, out)
		}
	}
}
