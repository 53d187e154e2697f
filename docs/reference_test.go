package docs_test

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"text/template"

	"promostore/internal/progtest"
)

var update = flag.Bool("update", false, "write reference.md again")

// TestReferenceIsCurrent compares reference.md with the output of its template.
func TestReferenceIsCurrent(t *testing.T) {
	r := &reference{Programs: progtest.Observe(t), documented: map[string]bool{}}
	page, err := template.New("").Funcs(template.FuncMap{
		"command":     r.command,
		"environment": r.environment,
		"exitCodes":   r.exitCodes,
		"signals":     r.signals,
		"endpoints":   r.endpoints,
		"metrics":     r.metrics,
	}).Parse(read(t, "reference.tmpl"))
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := page.Execute(&b, nil); err != nil {
		t.Fatal(err)
	}
	for _, name := range r.Commands {
		if !r.documented[name] {
			t.Errorf("reference.tmpl lacks {{command %q}}", name)
		}
	}
	if b.String() == read(t, "reference.md") {
		return
	}
	if !*update {
		t.Fatal("reference.md is stale; run make golden")
	}
	if err := os.WriteFile("reference.md", []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}

// A reference holds the functions of reference.tmpl. Each writes a part of the page.
type reference struct {
	*progtest.Programs
	documented map[string]bool // commands
}

func (r *reference) help(name string) (progtest.Help, error) {
	h, ok := r.Helps[name]
	if !ok {
		return h, fmt.Errorf("no command %q", name)
	}
	return h, nil
}

// command writes the usage, the description, the examples and the flags of a command.
func (r *reference) command(name string) (string, error) {
	h, err := r.help(name)
	if err != nil {
		return "", err
	}
	r.documented[name] = true
	usage := h.Section("USAGE")
	if len(usage) == 0 {
		return "", fmt.Errorf("the help of %s has no usage", name)
	}
	text, lists := h.Description()
	var b strings.Builder
	for _, line := range usage {
		b.WriteString("    " + line + "\n")
	}
	summary := h.Summary()
	fmt.Fprintf(&b, "\n%s%s.\n\n%s\n", strings.ToUpper(summary[:1]), prose(summary[1:]), prose(text))
	if examples := lists["Example"]; len(examples) > 0 {
		b.WriteString("\n")
		for _, line := range examples {
			b.WriteString(strings.TrimRight("    "+line, " ") + "\n")
		}
	}
	if flags := h.Flags(); len(flags) > 0 {
		b.WriteString("\n" + flagTable(flags))
	}
	return strings.TrimRight(b.String(), "\n"), nil
}

// flagTable has a column of environment variables if a flag has one.
func flagTable(flags []progtest.Flag) string {
	rows := [][]string{{"flag", "meaning", "default"}}
	withEnv := false
	for _, f := range flags {
		rows = append(rows, []string{"`" + f.Name + "`", prose(f.Meaning), prose(f.Default)})
		withEnv = withEnv || f.Env != ""
	}
	if withEnv {
		rows[0] = append(rows[0], "environment")
		for i, f := range flags {
			rows[i+1] = append(rows[i+1], "`"+f.Env+"`")
		}
	}
	return table(rows)
}

// environment writes the variables that set flags.
func (r *reference) environment() string {
	rows := [][]string{{"variable", "flag", "programs"}}
	index := map[string]int{}
	for _, name := range r.Commands {
		for _, f := range r.Helps[name].Flags() {
			if f.Env == "" {
				continue
			}
			flag, _, _ := strings.Cut(f.Name, " ")
			if i, ok := index[f.Env]; ok {
				rows[i][2] += ", `" + name + "`"
				continue
			}
			index[f.Env] = len(rows)
			rows = append(rows, []string{"`" + f.Env + "`", "`" + flag + "`", "`" + name + "`"})
		}
	}
	return table(rows)
}

func (r *reference) exitCodes(name string) (string, error) {
	return r.list(name, "Exit code", "exit code")
}

func (r *reference) signals(name string) (string, error) { return r.list(name, "Signal", "signal") }

// list writes a list of two columns in the description of a command.
func (r *reference) list(name, list, heading string) (string, error) {
	h, err := r.help(name)
	if err != nil {
		return "", err
	}
	rows := [][]string{{heading, "meaning"}}
	for _, e := range h.List(list) {
		rows = append(rows, []string{e[0], prose(e[1])})
	}
	if len(rows) == 1 {
		return "", fmt.Errorf("the help of %s has no list %q", name, list)
	}
	return table(rows), nil
}

// endpoints writes the endpoints of "promoserve", "updater" or "admin".
func (r *reference) endpoints(server string) (string, error) {
	var list []progtest.Endpoint
	switch server {
	case "promoserve":
		list = r.Server.Endpoints
	case "updater":
		list = r.Updater.Endpoints
	case "admin":
		var err error
		if list, err = progtest.Endpoints("../cmd/promoserve"); err != nil {
			return "", err
		}
	}
	rows := [][]string{{"path", "methods", "action"}}
	for _, e := range list {
		doc := e.Doc
		if strings.HasPrefix(e.Path, "/debug/pprof/") {
			doc = "serves a profile of net/http/pprof"
		}
		if doc == "" {
			return "", fmt.Errorf("the handler of %s has no comment", e.Path)
		}
		rows = append(rows, []string{"`" + e.Path + "`", e.Methods, prose(doc)})
	}
	return table(rows), nil
}

// metrics writes the metrics whose names begin with prefix.
func (r *reference) metrics(prefix string) (string, error) {
	rows := [][]string{{"metric", "type", "labels", "meaning"}}
	for _, f := range slices.Concat(r.Server.Metrics, r.Updater.Metrics) {
		if !strings.HasPrefix(f.Name, prefix) {
			continue
		}
		if f.Help == "" || f.Kind == "" {
			return "", fmt.Errorf("metric %s has no help or no type", f.Name)
		}
		rows = append(rows, []string{"`" + f.Name + "`", f.Kind, strings.Join(f.Labels, ", "), prose(f.Help)})
	}
	if len(rows) == 1 {
		return "", fmt.Errorf("no metric begins with %q", prefix)
	}
	return table(rows), nil
}

var codeWord = regexp.MustCompile(`(^|[\s(])(--[a-z]+(?:-[a-z]+)*|(?:/[a-z<>]+)+|PROMO_[A-Z_]+|[a-z]+\.(?:pin|errors))`)

// prose marks flags, paths and variables in a text of a program as code.
func prose(text string) string { return codeWord.ReplaceAllString(text, "$1`$2`") }

// escape marks the characters of a cell that Markdown interprets. In a code span
// that is only the separator of cells.
func escape(cell string) string {
	parts := strings.Split(strings.ReplaceAll(cell, "|", `\|`), "`")
	for i := 0; i < len(parts); i += 2 {
		parts[i] = strings.ReplaceAll(parts[i], "<", `\<`)
	}
	return strings.Join(parts, "`")
}

// table writes rows as a table of Markdown. The first one is the heading.
func table(rows [][]string) string {
	var b strings.Builder
	for i, row := range rows {
		for _, cell := range row {
			b.WriteString("| " + escape(cmp.Or(strings.ReplaceAll(cell, "``", ""), " ")) + " ")
		}
		b.WriteString("|\n")
		if i == 0 {
			b.WriteString(strings.Repeat("|---", len(row)) + "|\n")
		}
	}
	return strings.TrimRight(b.String(), "\n")
}
