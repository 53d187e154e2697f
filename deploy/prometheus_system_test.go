//go:build system

package deploy

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"gopkg.in/yaml.v3"
)

// TestRules checks the rules with promtool and runs their cases, also with the
// labels of pods that are found by annotations.
func TestRules(t *testing.T) {
	needs(t, "promtool")
	run(t, "promtool", "check", "rules", rulesFile)
	run(t, "promtool", "check", "config", scrapeFile)
	run(t, "promtool", "test", "rules", ruleTestsFile)
	run(t, "promtool", "test", "rules", podRuleTests(t))
}

var targetLabels = regexp.MustCompile(`job="promo(?:serve|build)",instance="(\w+):`)

// podRuleTests returns the path of the cases of the rules with the labels of pods,
// and with one job for both programs.
func podRuleTests(t *testing.T) string {
	t.Helper()
	type alert struct {
		Labels      map[string]string `yaml:"exp_labels"`
		Annotations map[string]string `yaml:"exp_annotations"`
	}
	var file struct {
		Rules []string `yaml:"rule_files"`
		Tests []struct {
			Name, Interval string
			Labels         map[string]string   `yaml:"external_labels"`
			Series         []map[string]string `yaml:"input_series"`
			Cases          []struct {
				Alert string  `yaml:"alertname"`
				Time  string  `yaml:"eval_time"`
				Want  []alert `yaml:"exp_alerts"`
			} `yaml:"alert_rule_test"`
		}
	}
	decode := yaml.NewDecoder(strings.NewReader(readFile(t, ruleTestsFile)))
	decode.KnownFields(true)
	if err := decode.Decode(&file); err != nil {
		t.Fatal(err)
	}
	for i, name := range file.Rules {
		path, err := filepath.Abs(filepath.Join(filepath.Dir(ruleTestsFile), name))
		if err != nil {
			t.Fatal(err)
		}
		file.Rules[i] = path
	}
	for _, test := range file.Tests {
		if strings.Contains(test.Name, "of the job promoserve") {
			continue
		}
		for _, series := range test.Series {
			series["series"] = targetLabels.ReplaceAllString(series["series"], `job="kubernetes-pods",namespace="promostore",pod="promo-$1",instance="$1:`)
		}
		for _, c := range test.Cases {
			for _, want := range c.Want {
				if instance, ok := want.Labels["instance"]; ok {
					name, _, _ := strings.Cut(instance, ":")
					want.Labels["job"], want.Labels["pod"] = "kubernetes-pods", "promo-"+name
				}
				if !strings.Contains(test.Name, "no target at all") {
					want.Labels["namespace"] = "promostore"
				}
			}
		}
	}
	text, err := yaml.Marshal(file)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "rules_test.yml")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestPrometheus runs Prometheus with our configuration, except for addresses and
// intervals. Every rule must evaluate, and every expression of the dashboard must
// return data.
func TestPrometheus(t *testing.T) {
	needs(t, "prometheus")
	data := t.TempDir()
	updater := startUpdater(t, data, "--inbox", t.TempDir())
	upload(t, updater.url, uploadToken, 0)
	api := serve(t, data, "--tls-self-signed")
	api.line(t, `"msg":"generation live"`)

	address := freeAddress(t)
	p := start(t, "prometheus", "--config.file", scrapeConfig(t, api.address(), updater.address()),
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
	board := readDashboard(t)
	for _, expr := range board.annotationExprs(t) {
		if _, err := query(expr); err != nil {
			t.Errorf("%s: %v", expr, err)
		}
	}
	for label, want := range map[string][]string{"job": {"promobuild", "promoserve"}, "instance": {api.address(), updater.address()}} {
		selector := url.QueryEscape(board.selector(t, label))
		var got []string
		if err := ask("http://"+address+"/api/v1/label/"+label+"/values?match[]="+selector, &got); err != nil {
			t.Fatal(err)
		}
		if slices.Sort(want); !slices.Equal(got, want) {
			t.Errorf("the dashboard offers %q for %s, want %q", got, label, want)
		}
	}
	for _, expr := range board.panelExprs(t) {
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

// podConfig finds pods by annotations, like the example configuration of Prometheus
// for Kubernetes. The pods are a list, and intervals are short.
const podConfig = `
global: {scrape_interval: 1s, evaluation_interval: 1s}
rule_files: [%s]
scrape_configs:
  - job_name: kubernetes-pods
    static_configs: %s
    relabel_configs:
      - {source_labels: [__meta_kubernetes_pod_annotation_prometheus_io_scrape], action: keep, regex: true}
      - {source_labels: [__meta_kubernetes_pod_annotation_prometheus_io_path], action: replace, target_label: __metrics_path__, regex: (.+)}
      - {action: labelmap, regex: __meta_kubernetes_pod_label_(.+)}
      - {source_labels: [__meta_kubernetes_namespace], action: replace, target_label: namespace}
      - {source_labels: [__meta_kubernetes_pod_name], action: replace, target_label: pod}
`

// TestPrometheusFindsPods runs Prometheus with a configuration that knows neither
// program, and finds two servers and an updater by the annotations of their pods. No
// alert about a process fires for healthy pods; one does for a server that ends.
func TestPrometheusFindsPods(t *testing.T) {
	needs(t, "prometheus")
	data := t.TempDir()
	build(t, data, 0, 1000)
	list := manifests(t)
	type group struct {
		Targets []string          `json:"targets"`
		Labels  map[string]string `json:"labels"`
	}
	var groups []group
	add := func(s *server, pod string, o *object) {
		labels := map[string]string{"__meta_kubernetes_namespace": "promostore", "__meta_kubernetes_pod_name": pod}
		for name, value := range o.Spec.Template.Metadata.Annotations {
			labels["__meta_kubernetes_pod_annotation_"+notLabel.ReplaceAllString(name, "_")] = value
		}
		for name, value := range o.Spec.Template.Metadata.Labels {
			labels["__meta_kubernetes_pod_label_"+notLabel.ReplaceAllString(name, "_")] = value
		}
		groups = append(groups, group{[]string{s.address()}, labels})
	}
	first, second, updater := serve(t, data), serve(t, data), startUpdater(t, data)
	add(first, "promo-api-a", find(t, list, "Deployment", "promo-api"))
	add(second, "promo-api-b", find(t, list, "Deployment", "promo-api"))
	add(updater, "promo-updater-0", find(t, list, "StatefulSet", "promo-updater"))
	targets, err := json.Marshal(groups)
	if err != nil {
		t.Fatal(err)
	}
	rules, err := filepath.Abs(rulesFile)
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(t.TempDir(), "prometheus.yml")
	if err := os.WriteFile(config, fmt.Appendf(nil, podConfig, rules, targets), 0o600); err != nil {
		t.Fatal(err)
	}
	address := freeAddress(t)
	p := start(t, "prometheus", "--config.file", config, "--storage.tsdb.path", t.TempDir(), "--web.listen-address", address)
	wait := func(expr string, want int) {
		t.Helper()
		waitFor(t, fmt.Sprintf("%s has %d results", expr, want), func() bool {
			n, err := results(address, expr)
			return err == nil && n == want
		})
	}
	const alerts = `ALERTS{alertname=~"Promo(Server|Updater)Down"}`
	wait(`count_over_time(up[1m]) >= 3 and up{job="kubernetes-pods",namespace="promostore"} == 1`, 3)
	wantHealthyRules(t, address)
	// Before the first scrape no server exists, which may be pending for a moment.
	wait(alerts, 0)

	second.stop(syscall.SIGKILL)
	wait(`ALERTS{alertname="PromoServerDown",pod="promo-api-b",app_kubernetes_io_name="promo-api"}`, 1)
	wait(alerts, 1)
	p.stop(syscall.SIGTERM)
}

var notLabel = regexp.MustCompile(`[^a-zA-Z0-9_]`)

// scrapeConfig returns the path of our configuration with other targets and
// intervals of one second.
func scrapeConfig(t *testing.T, api, updater string) string {
	t.Helper()
	var config struct {
		Global   map[string]any
		Alerting any
		Rules    []string         `yaml:"rule_files"`
		Scrapes  []map[string]any `yaml:"scrape_configs"`
	}
	if err := yaml.Unmarshal([]byte(readFile(t, scrapeFile)), &config); err != nil {
		t.Fatal(err)
	}
	config.Global["scrape_interval"], config.Global["evaluation_interval"] = "1s", "1s"
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
