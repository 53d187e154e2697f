package deploy

import (
	"flag"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/VictoriaMetrics/metricsql"
	"gopkg.in/yaml.v3"

	"promostore/internal/progtest"
)

const (
	rulesFile     = "prometheus/rules.yml"
	ruleTestsFile = "prometheus/rules_test.yml"
	scrapeFile    = "prometheus/prometheus.yml"
	scalerFile    = "kubernetes/api/scaling.yaml"
)

// A rule is a recording rule or an alert.
type rule struct {
	Record, Alert, Expr string
	Labels, Annotations map[string]string
}

func rules(t *testing.T) (list []rule) {
	t.Helper()
	var file struct{ Groups []struct{ Rules []rule } }
	if err := yaml.Unmarshal([]byte(readFile(t, rulesFile)), &file); err != nil {
		t.Fatal(err)
	}
	for _, g := range file.Groups {
		list = append(list, g.Rules...)
	}
	if len(list) == 0 {
		t.Fatalf("%s has no rules", rulesFile)
	}
	return list
}

// TestExpressions checks that the programs export every metric in the rules, the
// dashboard and the autoscaler, with the same labels and values.
func TestExpressions(t *testing.T) {
	p := progtest.Observe(t)
	known := map[string]progtest.Family{"up": {}}
	for _, f := range slices.Concat(p.Server.Metrics, p.Updater.Metrics) {
		known[f.Name] = f
		if f.Kind == "histogram" {
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				known[f.Name+suffix] = f
			}
		}
	}
	board := readDashboard(t)
	exprs := append(slices.Concat(board.panelExprs(t), board.annotationExprs(t)), scalerExpr(t))
	for _, r := range rules(t) {
		exprs = append(exprs, r.Expr)
		if r.Record != "" {
			known[r.Record] = progtest.Family{}
		}
	}
	for _, text := range exprs {
		expr, err := metricsql.Parse(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		names := 0
		metricsql.VisitAll(expr, func(e metricsql.Expr) {
			m, ok := e.(*metricsql.MetricExpr)
			if !ok {
				return
			}
			for _, filters := range m.LabelFilterss {
				names++
				checkFilters(t, text, filters, known)
			}
		})
		if names == 0 {
			t.Errorf("%s: has no metric", text)
		}
	}
}

// ofTarget lists the labels that Prometheus adds.
var ofTarget = []string{"job", "instance", "namespace", "pod"}

// checkFilters checks that a program exports the metric named by the first filter,
// with the label of every other filter and each alternative of its value.
func checkFilters(t *testing.T, text string, filters []metricsql.LabelFilter, known map[string]progtest.Family) {
	t.Helper()
	metric, ok := known[filters[0].Value]
	if filters[0].Label != "__name__" || !ok {
		t.Errorf("%s: no program exports %q", text, filters[0].Value)
		return
	}
	for _, f := range filters[1:] {
		if slices.Contains(ofTarget, f.Label) {
			continue
		}
		values := []string{regexp.QuoteMeta(f.Value)}
		if f.IsRegexp {
			values = strings.Split(f.Value, "|")
		}
		for _, value := range values {
			if !slices.ContainsFunc(metric.Values[f.Label], regexp.MustCompile("^(?:"+value+")$").MatchString) {
				t.Errorf("%s: %s has no label %s with the value %s", text, filters[0].Value, f.Label, value)
			}
		}
	}
}

// scalerExpr returns the expression of the autoscaler's metric, from the rule for
// prometheus-adapter in the same file.
func scalerExpr(t *testing.T) string {
	t.Helper()
	text := readFile(t, scalerFile)
	part := func(pattern string) string {
		t.Helper()
		m := regexp.MustCompile(pattern).FindStringSubmatch(text)
		if m == nil {
			t.Fatalf("%s has no %s", scalerFile, pattern)
		}
		return m[1]
	}
	if made, used := part(`as: (\w+)`), part(`metric: \{name: (\w+)`); made != used {
		t.Errorf("%s uses %s, but the adapter provides %s", scalerFile, used, made)
	}
	name, filters, _ := strings.Cut(strings.TrimSuffix(part(`seriesQuery: (.*)`), "}"), "{")
	return strings.NewReplacer("<<.Series>>", name, "<<.LabelMatchers>>", filters, "<<.GroupBy>>", "pod").Replace(part(`metricsQuery: (.*)`))
}

// TestAlerts checks that each alert has a severity, a section in the runbook, a
// case in which it fires and a case in which it does not.
func TestAlerts(t *testing.T) {
	var file struct {
		Tests []struct {
			Cases []struct {
				Alert string `yaml:"alertname"`
				Want  []any  `yaml:"exp_alerts"`
			} `yaml:"alert_rule_test"`
		}
	}
	if err := yaml.Unmarshal([]byte(readFile(t, ruleTestsFile)), &file); err != nil {
		t.Fatal(err)
	}
	fires, quiet := map[string]bool{}, map[string]bool{}
	for _, test := range file.Tests {
		for _, c := range test.Cases {
			fires[c.Alert] = fires[c.Alert] || len(c.Want) > 0
			quiet[c.Alert] = quiet[c.Alert] || len(c.Want) == 0
		}
	}
	sections := headings(readFile(t, runbook))
	for _, r := range rules(t) {
		if r.Alert == "" {
			continue
		}
		if !fires[r.Alert] || !quiet[r.Alert] {
			t.Errorf("%s has a case in %s in which it fires: %v, and does not fire: %v", r.Alert, ruleTestsFile, fires[r.Alert], quiet[r.Alert])
		}
		if !slices.Contains([]string{"critical", "warning", "info"}, r.Labels["severity"]) {
			t.Errorf("%s has the severity %q", r.Alert, r.Labels["severity"])
		}
		if r.Annotations["summary"] == "" || r.Annotations["description"] == "" {
			t.Errorf("%s has no summary or description", r.Alert)
		}
		section, ok := strings.CutPrefix(r.Annotations["runbook_url"], runbookLink+"#")
		if !ok || !slices.Contains(sections, section) {
			t.Errorf("%s: there is no section %q", r.Alert, r.Annotations["runbook_url"])
		}
	}
}

const operatorRulesFile = "kubernetes/monitoring/rules.yaml"

var update = flag.Bool("update", false, "write the generated files in kubernetes again")

// operatorRulesHead precedes the rules, which are indented.
const operatorRulesHead = `# Generated from deploy/prometheus/rules.yml by "make golden". Do not edit this file.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: promostore
  namespace: promostore
  labels:
    app.kubernetes.io/name: promostore
    app.kubernetes.io/component: alerts
    app.kubernetes.io/part-of: promostore
    app.kubernetes.io/instance: promostore
    app.kubernetes.io/managed-by: kustomize
spec:
`

// TestOperatorRules checks that the rules for the Prometheus operator are those for
// Prometheus.
func TestOperatorRules(t *testing.T) {
	_, groups, ok := strings.Cut(readFile(t, rulesFile), "\ngroups:\n")
	if !ok {
		t.Fatalf("%s has no groups", rulesFile)
	}
	want := operatorRulesHead + regexp.MustCompile(`(?m)^.`).ReplaceAllString("groups:\n"+groups, "  $0")
	if *update {
		if err := os.WriteFile(operatorRulesFile, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if readFile(t, operatorRulesFile) != want {
		t.Errorf("%s differs from %s; run make golden", operatorRulesFile, rulesFile)
	}
}

// runbookLink is the template of the address of the runbook.
const runbookLink = `{{ or $externalLabels.runbook "docs/runbook.md" }}`

var notAnchor = regexp.MustCompile(`[^a-z0-9 -]`)

// headings returns the anchors of the headings of a Markdown text.
func headings(text string) (anchors []string) {
	for line := range strings.Lines(text) {
		if title, ok := strings.CutPrefix(line, "#"); ok {
			title = strings.ToLower(strings.TrimSpace(strings.TrimLeft(title, "#")))
			anchors = append(anchors, strings.ReplaceAll(notAnchor.ReplaceAllString(title, ""), " ", "-"))
		}
	}
	return anchors
}
