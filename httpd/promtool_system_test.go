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

// TestPromtoolAcceptsMetrics passes the metrics to promtool, with and without a
// generation and a certificate. It may complain only about the metrics of the
// library: they have no HELP text, and the types of some do not fit their names.
func TestPromtoolAcceptsMetrics(t *testing.T) {
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
			if strings.HasPrefix(line, "go_") || strings.HasPrefix(line, "process_") {
				complaints++
				continue
			}
			t.Errorf("%s: %s", name, line)
		}
		if complaints == 0 {
			t.Errorf("%s: promtool complains about no missing HELP text, so it read nothing: %v\n%s", name, err, out)
		}
	}
}
