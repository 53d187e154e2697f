//go:build system

package deploy

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"gopkg.in/yaml.v3"
)

// TestRules checks the rules with promtool and runs their cases.
func TestRules(t *testing.T) {
	needs(t, "promtool")
	run(t, "promtool", "check", "rules", rulesFile)
	run(t, "promtool", "check", "config", scrapeFile)
	run(t, "promtool", "test", "rules", ruleTestsFile)
}

// TestPrometheus runs Prometheus with our configuration, except for addresses and
// intervals. Every rule must evaluate, and every expression of the dashboard must
// return data.
func TestPrometheus(t *testing.T) {
	needs(t, "prometheus")
	data := t.TempDir()
	updater := start(t, program(t, "promobuild"), "updater", "--data", data, "--inbox", t.TempDir(),
		"--listen", "127.0.0.1:0", "--log-format", "json")
	var line struct{ Address string }
	if err := json.Unmarshal([]byte(updater.line(t, `"msg":"serving"`)), &line); err != nil {
		t.Fatal(err)
	}
	csv, err := os.Open(writeCSV(t, 0, 1000))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.Post("http://"+line.Address+"/upload", "text/csv", csv) // closes csv
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		t.Fatalf("upload: %s", resp.Status)
	}
	api := serve(t, data, "--tls-self-signed")
	api.line(t, `"msg":"generation live"`)

	address := freeAddress(t)
	p := start(t, "prometheus", "--config.file", scrapeConfig(t, strings.TrimPrefix(api.url, "http://"), line.Address),
		"--storage.tsdb.path", t.TempDir(), "--web.listen-address", address)
	query := func(expr string) (int, error) {
		for _, path := range []string{"/promotions/" + id(0), "/promotions/none"} { // rates need requests
			if _, err := get(api.url + path); err != nil {
				return 0, err
			}
		}
		return results(address, expr)
	}
	waitFor(t, "Prometheus has scraped both", func() bool {
		n, err := query(`count_over_time(up[1m]) >= 3 and up == 1`)
		return err == nil && n == 2
	})
	for _, r := range rules(t) {
		if _, err := query(r.Expr); err != nil {
			t.Errorf("%s%s: %v", r.Record, r.Alert, err)
		}
	}
	for _, expr := range panelExprs(t) {
		waitFor(t, expr+" returns data", func() bool {
			n, err := query(expr)
			if err != nil {
				t.Fatalf("%s: %v", expr, err)
			}
			return n > 0
		})
	}
	wantHealthyRules(t, address)
	p.stop(syscall.SIGTERM)
}

// scrapeConfig returns the path of our configuration with other targets and
// intervals of one second.
func scrapeConfig(t *testing.T, api, updater string) string {
	t.Helper()
	var config struct {
		Global  map[string]string
		Rules   []string         `yaml:"rule_files"`
		Scrapes []map[string]any `yaml:"scrape_configs"`
	}
	if err := yaml.Unmarshal([]byte(readFile(t, scrapeFile)), &config); err != nil {
		t.Fatal(err)
	}
	for name := range config.Global {
		config.Global[name] = "1s"
	}
	for i, file := range config.Rules {
		path, err := filepath.Abs(filepath.Join(filepath.Dir(scrapeFile), file))
		if err != nil {
			t.Fatal(err)
		}
		config.Rules[i] = path
	}
	targets := map[any]string{"promoserve": api, "promobuild": updater}
	for _, scrape := range config.Scrapes {
		target := targets[scrape["job_name"]]
		if target == "" {
			t.Fatalf("%s scrapes %v, which is neither program", scrapeFile, scrape["job_name"])
		}
		delete(targets, scrape["job_name"])
		scrape["static_configs"] = []any{map[string]any{"targets": []string{target}}}
	}
	if len(targets) > 0 {
		t.Fatalf("%s does not scrape %v", scrapeFile, targets)
	}
	text, err := yaml.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "prometheus.yml")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// ask sends a request to the API of Prometheus and decodes its data.
func ask(url string, data any) error {
	a, err := get(url)
	if err != nil {
		return err
	}
	answer := struct {
		Status, Error string
		Data          any
	}{Data: data}
	if err := json.Unmarshal([]byte(a.body), &answer); err != nil {
		return fmt.Errorf("%w: %s", err, a.body)
	}
	if answer.Status != "success" {
		return fmt.Errorf("%s: %s", answer.Status, answer.Error)
	}
	return nil
}

// results returns the number of results of an expression.
func results(address, expr string) (int, error) {
	var data struct{ Result []any }
	err := ask("http://"+address+"/api/v1/query?query="+url.QueryEscape(expr), &data)
	return len(data.Result), err
}

// wantHealthyRules waits until every rule has been evaluated.
func wantHealthyRules(t *testing.T, address string) {
	t.Helper()
	var data struct {
		Groups []struct {
			Rules []struct{ Name, Health, LastError string }
		}
	}
	waitFor(t, "all rules are healthy", func() bool {
		data.Groups = nil
		if err := ask("http://"+address+"/api/v1/rules", &data); err != nil {
			t.Fatal(err)
		}
		healthy := 0
		for _, g := range data.Groups {
			for _, r := range g.Rules {
				if r.Health == "err" {
					t.Fatalf("%s: %s", r.Name, r.LastError)
				}
				if r.Health == "ok" {
					healthy++
				}
			}
		}
		return healthy == len(rules(t))
	})
}
