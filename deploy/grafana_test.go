package deploy

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const dashboardFile = "grafana/dashboards/promotions.json"

// A dashboard is a dashboard of Grafana, with the fields that the tests read.
type dashboard struct {
	UID, Title  string
	Links       []link
	Templating  struct{ List []dashboardVariable }
	Annotations struct {
		List []struct {
			Name, Expr string
			Datasource datasource
		}
	}
	Panels []panel
}

type datasource struct{ Type, UID string }

type link struct{ URL string }

type dashboardVariable struct {
	Name, Type        string
	Query             any
	Multi, IncludeAll bool
}

type panel struct {
	ID          int
	Type, Title string
	GridPos     struct{ X, Y, W, H int }
	Datasource  datasource
	Links       []link
	Targets     []struct{ Expr string }
	FieldConfig struct {
		Defaults struct {
			Thresholds struct {
				Steps []struct{ Color string }
			}
		}
	}
}

func readDashboard(t *testing.T) *dashboard {
	t.Helper()
	var board dashboard
	if err := json.Unmarshal([]byte(readFile(t, dashboardFile)), &board); err != nil {
		t.Fatal(err)
	}
	if board.UID == "" || board.Title == "" {
		t.Errorf("%s has the uid %q and the title %q", dashboardFile, board.UID, board.Title)
	}
	return &board
}

// anyTarget replaces the variables of Grafana in an expression.
var anyTarget = strings.NewReplacer("$__rate_interval", "1m", "$job", ".*", "$instance", ".*")

// panelExprs returns the expressions of the panels, for all targets.
func (d *dashboard) panelExprs(t *testing.T) (list []string) {
	t.Helper()
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			list = append(list, anyTarget.Replace(target.Expr))
		}
	}
	if len(list) == 0 {
		t.Fatalf("%s has no expressions", dashboardFile)
	}
	return list
}

// annotationExprs returns the expressions of the annotations, for all targets.
func (d *dashboard) annotationExprs(t *testing.T) (list []string) {
	t.Helper()
	for _, a := range d.Annotations.List {
		list = append(list, anyTarget.Replace(a.Expr))
	}
	if len(list) == 0 {
		t.Fatalf("%s has no annotations", dashboardFile)
	}
	return list
}

func (d *dashboard) variable(t *testing.T, name string) dashboardVariable {
	t.Helper()
	i := slices.IndexFunc(d.Templating.List, func(v dashboardVariable) bool { return v.Name == name })
	if i < 0 {
		t.Fatalf("%s has no variable %s", dashboardFile, name)
	}
	return d.Templating.List[i]
}

var labelValues = regexp.MustCompile(`^label_values\((\{.*\}), (\w+)\)$`)

// selector returns the selector of the series whose label a variable offers. The
// variable has the name of the label.
func (d *dashboard) selector(t *testing.T, label string) string {
	t.Helper()
	v := d.variable(t, label)
	query, _ := v.Query.(map[string]any)
	text, _ := query["query"].(string)
	m := labelValues.FindStringSubmatch(text)
	if v.Type != "query" || !v.Multi || !v.IncludeAll || m == nil || m[2] != label {
		t.Fatalf("the variable %s is %+v", label, v)
	}
	return anyTarget.Replace(m[1])
}

// selected matches a metric and its selector.
var selected = regexp.MustCompile(`\b(?:promoserve|promobuild|process|go)_\w+(?:\{([^}]*)\})?`)

// TestDashboard checks that all queries use the variables for the data source and
// the targets, that links lead to the runbook, and that single figures have
// thresholds.
func TestDashboard(t *testing.T) {
	d := readDashboard(t)
	if v := d.variable(t, "datasource"); v.Type != "datasource" || v.Query != "prometheus" {
		t.Errorf("the variable datasource is %+v", v)
	}
	source := datasource{"prometheus", "${datasource}"}
	selects := func(title, expr string) {
		t.Helper()
		for _, m := range selected.FindAllStringSubmatch(expr, -1) {
			if !strings.HasPrefix(m[1], `job=~"$job",instance=~"$instance"`) {
				t.Errorf("%s selects all targets: %s", title, m[0])
			}
		}
	}
	for _, a := range d.Annotations.List {
		selects(a.Name, a.Expr)
		if a.Datasource != source {
			t.Errorf("the annotation %s has the data source %+v", a.Name, a.Datasource)
		}
	}
	sections := headings(readFile(t, runbook))
	links := d.Links
	ids, figures, end := map[int]bool{}, 0, 0
	for _, p := range d.Panels {
		if ids[p.ID] || p.GridPos.X+p.GridPos.W > 24 || p.GridPos.Y < end && p.GridPos.X == 0 {
			t.Errorf("the panel %q has the number %d and the place %+v", p.Title, p.ID, p.GridPos)
		}
		ids[p.ID] = true
		if p.GridPos.X == 0 {
			end = p.GridPos.Y + p.GridPos.H
		}
		for _, target := range p.Targets {
			selects(p.Title, target.Expr)
		}
		if p.Type != "row" && p.Datasource != source {
			t.Errorf("the panel %q has the data source %+v", p.Title, p.Datasource)
		}
		if p.Type == "stat" {
			figures++
			if len(p.FieldConfig.Defaults.Thresholds.Steps) < 2 && len(p.Links) > 0 {
				t.Errorf("%q has no thresholds", p.Title)
			}
		}
		links = append(links, p.Links...)
	}
	if figures < 5 || len(links) < 5 {
		t.Errorf("%d single figures and %d links", figures, len(links))
	}
	address, _ := d.variable(t, "runbook").Query.(string)
	if !strings.HasPrefix(address, "https://") || !strings.HasSuffix(address, "/docs/runbook.md") {
		t.Errorf("the runbook is at %q", address)
	}
	for _, l := range links {
		if section, ok := strings.CutPrefix(l.URL, "${runbook}#"); !ok || !slices.Contains(sections, section) {
			t.Errorf("there is no section %q", l.URL)
		}
	}
}

// TestDashboardErrors checks that 304 and 404 are no errors in the dashboard.
func TestDashboardErrors(t *testing.T) {
	for _, p := range readDashboard(t).Panels {
		for _, target := range p.Targets {
			m := regexp.MustCompile(`code(!?=~?)"([^"]*)"`).FindStringSubmatch(target.Expr)
			if m == nil || !strings.Contains(p.Title, "rror") && !strings.Contains(p.Title, "5xx") {
				continue
			}
			for _, code := range []string{"200", "304", "404"} {
				if matched := regexp.MustCompile("^(?:" + m[2] + ")$").MatchString(code); matched == (m[1] == "=~") {
					t.Errorf("%q counts %s", p.Title, code)
				}
			}
		}
	}
}
