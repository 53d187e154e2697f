package deploy

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

var update = flag.Bool("update", false, "write the tables of docs/reference.md again")

const (
	readme  = "../docs/reference.md"
	runbook = "../docs/operations.md"
)

// TestReadme compares the tables of docs/reference.md with the programs.
func TestReadme(t *testing.T) {
	p := observed(t)
	text := readFile(t, readme)
	for name, table := range map[string]string{
		"promoserve flags":     p.commands(t, "promoserve"),
		"promobuild flags":     p.commands(t, "promobuild"),
		"promoserve signals":   signals(t, p.help(t, "promoserve")),
		"updater signals":      signals(t, p.help(t, "promobuild", "updater")),
		"promoserve endpoints": p.server.endpoints(t, "../httpd"),
		"updater endpoints":    p.updater.endpoints(t, "../updater"),
		"admin endpoints":      endpointTable(routes(t, "../cmd/promoserve"), nil),
		"promoserve metrics":   metricTable(p.server.metrics),
		"updater metrics":      metricTable(p.updater.metrics),
	} {
		begin, end := "<!-- "+name+": written by go test ./deploy -update -->\n", "<!-- end -->"
		before, rest, ok := strings.Cut(text, begin)
		_, after, ended := strings.Cut(rest, end)
		if !ok || !ended {
			t.Fatalf("%s has no place for the table of %s: %q", readme, name, begin)
		}
		if strings.Count(table, "\n") < 3 {
			t.Errorf("the table of %s has no rows:\n%s", name, table)
		}
		text = before + begin + "\n" + table + "\n" + end + after
	}
	switch stale := text != readFile(t, readme); {
	case stale && *update:
		if err := os.WriteFile(readme, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	case stale:
		t.Errorf("the tables of %s are stale: go test ./deploy -run TestReadme -update", readme)
	}
}

var (
	calls = regexp.MustCompile(`(?m)^    .*?\b(promobuild|promoserve)(?: ([a-z]+))?\b(.*)$`)
	flags = regexp.MustCompile(`--[a-z-]+`)
)

// TestRunbook checks that the commands of docs/operations.md exist, with their flags.
func TestRunbook(t *testing.T) {
	p := observed(t)
	list := calls.FindAllStringSubmatch(readFile(t, runbook), -1)
	checked := 0
	for _, m := range list {
		if m[1] == "promobuild" && m[2] == "" || !strings.HasPrefix(strings.TrimSpace(m[0]), m[1]) {
			continue // the name of a unit or a process
		}
		checked++
		help := p.help(t, strings.Fields(m[1]+" "+m[2])...)
		for _, f := range flags.FindAllString(m[3], -1) {
			if !strings.Contains(help, "   "+f) {
				t.Errorf("%s: there is no flag %s", m[0], f)
			}
		}
	}
	if checked < 10 {
		t.Errorf("%s has %d commands of ours", runbook, checked)
	}
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// A programs is both of them, built, run and looked at.
type programs struct {
	helps           map[string]string // by command line
	server, updater observation
}

// An observation is what a running program told.
type observation struct {
	metrics []family
	allow   map[string]string // the methods of a path
}

// A family is the metrics of one name.
type family struct {
	name, kind, help string
	labels           []string            // but for le
	values           map[string][]string // by label
}

// observed is what the programs say of themselves, looked at once.
func observed(t *testing.T) *programs {
	t.Helper()
	statSources(t)
	p, err := observe()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// statSources looks at the source of both programs, so that the go command
// sees that the result of the test depends on it, and runs it again.
func statSources(t *testing.T) {
	t.Helper()
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && slices.Contains([]string{"bench", "testdata", "data", ".git", "bin"}, d.Name()):
			return filepath.SkipDir
		case filepath.Ext(path) == ".go":
			_, err = os.Stat(path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

var observe = sync.OnceValues(func() (*programs, error) {
	dir, err := os.MkdirTemp("", "promostore-readme-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	cmd := exec.Command("go", "build", "-o", dir+"/", "../cmd/...")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%w: %s", err, out)
	}
	p := &programs{helps: map[string]string{}}
	if err := cmp.Or(p.readHelp(dir, "promoserve"), p.readHelp(dir, "promobuild")); err != nil {
		return nil, err
	}
	return p, p.runBoth(dir)
})

// readHelp asks a program and each of its commands for help.
func (p *programs) readHelp(dir, program string) error {
	ask := func(words ...string) error {
		out, err := exec.Command(filepath.Join(dir, program), append(words, "--help")...).Output()
		p.helps[strings.Join(append([]string{program}, words...), " ")] = string(out)
		return err
	}
	err := ask()
	for _, line := range section(p.helps[program], "COMMANDS:") {
		if name, _, ok := columns(line); ok && !strings.HasPrefix(name, "help") {
			err = cmp.Or(err, ask(name))
		}
	}
	return err
}

// help is that of a command.
func (p *programs) help(t *testing.T, words ...string) string {
	t.Helper()
	text := p.helps[strings.Join(words, " ")]
	if text == "" {
		t.Fatalf("no help of %q", words)
	}
	return text
}

// runBoth uploads a table and has a server serve it, and looks at both.
func (p *programs) runBoth(dir string) error {
	data := filepath.Join(dir, "data")
	updater, stop, err := launch("serving", filepath.Join(dir, "promobuild"), "updater", "--data", data, "--inbox", filepath.Join(dir, "inbox"))
	if err != nil {
		return err
	}
	defer stop()
	csv, err := exec.Command(filepath.Join(dir, "promobuild"), "generate", "--rows", "1000").Output()
	if err != nil {
		return err
	}
	resp, err := http.Post(updater+"/upload", "text/csv", bytes.NewReader(csv))
	if err != nil {
		return err
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		return fmt.Errorf("an upload was answered with %s", resp.Status)
	}
	server, stop, err := launch("generation live", filepath.Join(dir, "promoserve"), "--data", data, "--tls-self-signed", "--drain", "0s")
	if err != nil {
		return err
	}
	defer stop()
	p.server, err = look(server, "../httpd")
	if err != nil {
		return err
	}
	p.updater, err = look(updater, "../updater")
	return err
}

// launch runs a program on a port of its own and returns its URL, once it has
// logged a message.
func launch(message, program string, args ...string) (url string, stop func(), err error) {
	cmd := exec.Command(program, append(args, "--listen", "127.0.0.1:0", "--log-format", "json")...)
	out, err := cmd.StderrPipe()
	if err != nil {
		return "", nil, err
	}
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	lines := bufio.NewScanner(out)
	stop = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}
	for lines.Scan() {
		var line struct{ Msg, Address string }
		if json.Unmarshal(lines.Bytes(), &line) != nil {
			continue
		}
		if line.Msg == "serving" {
			url = "http://" + line.Address
		}
		if line.Msg == message {
			go func() { _, _ = io.Copy(io.Discard, out) }()
			return url, stop, nil
		}
	}
	stop()
	return "", nil, fmt.Errorf("%s ended before it logged %q", program, message)
}

func look(url, pkg string) (observation, error) {
	o := observation{allow: map[string]string{}}
	resp, err := http.Get(url + "/prometheus")
	if err != nil {
		return o, err
	}
	defer resp.Body.Close()
	if o.metrics, err = families(resp.Body); err != nil {
		return o, err
	}
	list, err := parseRoutes(pkg)
	if err != nil {
		return o, err
	}
	for _, r := range list {
		req, err := http.NewRequest(http.MethodDelete, url+r.path, nil)
		if err != nil {
			return o, err
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return o, err
		}
		resp.Body.Close()
		o.allow[r.path] = resp.Header.Get("Allow")
		if resp.StatusCode != http.StatusMethodNotAllowed || o.allow[r.path] == "" {
			return o, fmt.Errorf("DELETE %s is answered with %s, Allow %q", r.path, resp.Status, o.allow[r.path])
		}
	}
	return o, nil
}

// families reads the text format of Prometheus.
func families(r io.Reader) (list []family, err error) {
	index := map[string]int{}
	at := func(name string) *family {
		i, ok := index[name]
		if !ok {
			i = len(list)
			index[name] = i
			list = append(list, family{name: name, values: map[string][]string{}})
		}
		return &list[i]
	}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		words := strings.SplitN(lines.Text(), " ", 4)
		switch {
		case words[0] == "#" && len(words) == 4 && words[1] == "HELP":
			at(words[2]).help = words[3]
		case words[0] == "#" && len(words) == 4 && words[1] == "TYPE":
			at(words[2]).kind = words[3]
		case words[0] != "#" && words[0] != "":
			name, labels, _ := strings.Cut(lines.Text(), "{")
			name, _, _ = strings.Cut(name, " ")
			if base := histogramSuffix.ReplaceAllString(name, ""); index[base] > 0 || len(list) > 0 && list[0].name == base {
				name = base
			}
			f := at(name)
			for _, m := range labelPair.FindAllStringSubmatch(labels, -1) {
				f.values[m[1]] = append(f.values[m[1]], m[2])
				if !slices.Contains(f.labels, m[1]) && m[1] != "le" {
					f.labels = append(f.labels, m[1])
				}
			}
		}
	}
	return list, lines.Err()
}

var (
	histogramSuffix = regexp.MustCompile(`_(bucket|sum|count)$`)
	labelPair       = regexp.MustCompile(`(\w+)="([^"]*)"`)
)

// metricTable leaves out the metrics of the process, which have no help.
func metricTable(list []family) string {
	var b strings.Builder
	b.WriteString("| metric | type | labels | meaning |\n|---|---|---|---|\n")
	for _, f := range list {
		if f.help == "" {
			continue
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", f.name, f.kind, strings.Join(f.labels, ", "), cell(f.help))
	}
	return b.String()
}

// section is the lines below a heading of a help text.
func section(help, heading string) (lines []string) {
	_, text, _ := strings.Cut(help, "\n"+heading+"\n")
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, " ") {
			break
		}
		lines = append(lines, strings.TrimRight(line, "\n"))
	}
	return lines
}

var gap = regexp.MustCompile(`^ *(\S.*?) {2,}(\S.*)$`)

// columns is a line of a help text: a name, a gap, and what it means.
func columns(line string) (name, meaning string, ok bool) {
	m := gap.FindStringSubmatch(line)
	if m == nil {
		return "", "", false
	}
	return m[1], m[2], true
}

var (
	defaultPart = regexp.MustCompile(` \(default: (.*?)\)( \[\$.*\])?$`)
	envPart     = regexp.MustCompile(` \[\$(\w+)\]$`)
)

// commands has a table of flags for a program and each of its commands.
func (p *programs) commands(t *testing.T, program string) string {
	t.Helper()
	var b strings.Builder
	names := []string{program}
	for _, line := range section(p.help(t, program), "COMMANDS:") {
		if name, _, ok := columns(line); ok && !strings.HasPrefix(name, "help") {
			names = append(names, program+" "+name)
		}
	}
	for _, name := range names {
		help := p.help(t, name)
		usage := section(help, "USAGE:")
		if len(usage) == 0 {
			t.Fatalf("the help of %s has no usage", name)
		}
		_, what, _ := strings.Cut(section("\n"+help, "NAME:")[0], " - ")
		fmt.Fprintf(&b, "`%s`: %s\n\n", strings.Join(strings.Fields(usage[0]), " "), what)
		options := slices.Concat(section(help, "OPTIONS:"), section(help, "GLOBAL OPTIONS:"))
		b.WriteString(flagTable(options))
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// flagTable is empty if there is no flag but those that all programs have.
func flagTable(options []string) string {
	var b strings.Builder
	for _, line := range options {
		name, meaning, ok := columns(line)
		if !ok || strings.HasPrefix(name, "--help") || strings.HasPrefix(name, "--version") {
			continue
		}
		value, env := "", ""
		if m := defaultPart.FindStringSubmatch(meaning); m != nil {
			value = strings.Trim(m[1], `"`)
			meaning = strings.Replace(meaning, " (default: "+m[1]+")", "", 1)
		}
		if m := envPart.FindStringSubmatch(meaning); m != nil {
			env = "`" + m[1] + "`"
			meaning = strings.TrimSuffix(meaning, m[0])
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", cell(name), cell(meaning), cell(value), env)
	}
	if b.Len() == 0 {
		return ""
	}
	return "| flag | meaning | default | environment |\n|---|---|---|---|\n" + b.String() + "\n"
}

// cell is text in a table of Markdown.
func cell(text string) string { return strings.NewReplacer("|", `\|`, "<", `\<`).Replace(text) }

// signals is the table of what a help text says below "Signals:".
func signals(t *testing.T, help string) string {
	t.Helper()
	_, text, ok := strings.Cut(help, "Signals:\n")
	if !ok {
		t.Fatal("a help has no signals")
	}
	var b strings.Builder
	b.WriteString("| signal | what it does |\n|---|---|")
	for line := range strings.Lines(text) {
		if strings.TrimSpace(line) == "" {
			break
		}
		if name, meaning, ok := columns(strings.TrimRight(line, "\n")); ok {
			fmt.Fprintf(&b, " |\n| %s | %s", name, meaning)
		} else {
			b.WriteString(" " + strings.TrimSpace(line))
		}
	}
	return strings.Replace(b.String(), "|---|---| |", "|---|---|", 1) + " |\n"
}

// A route is a path that the source answers, and the first sentence about what
// answers it.
type route struct{ method, path, doc string }

func routes(t *testing.T, pkg string) []route {
	t.Helper()
	list, err := parseRoutes(pkg)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// parseRoutes finds the paths in the source of a package: those of switches,
// and those that handlers are registered for.
func parseRoutes(dir string) (list []route, err error) {
	files := token.NewFileSet()
	docs := map[string]string{}
	var trees []*ast.File
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
			return err
		}
		tree, err := parser.ParseFile(files, path, nil, parser.ParseComments)
		trees = append(trees, tree)
		return err
	})
	if err != nil {
		return nil, err
	}
	for _, tree := range trees {
		for _, decl := range tree.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && ofServer(f) {
				docs[f.Name.Name] = sentence(f)
			}
		}
	}
	for _, tree := range trees {
		ast.Inspect(tree, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CaseClause:
				if path := pathOf(n.List); path != "" && len(n.Body) > 0 {
					list = append(list, route{path: path, doc: docs[called(n.Body[0])]})
				}
			case *ast.CallExpr:
				if s, ok := n.Fun.(*ast.SelectorExpr); !ok || s.Sel.Name != "HandleFunc" {
					break
				}
				if path := pathOf(n.Args); path != "" && path != "/" {
					method, path, ok := strings.Cut(path, " ")
					if !ok {
						method, path = "", method
					}
					list = append(list, route{method, path, docs[called(n.Args[1])]})
				}
			case *ast.ValueSpec: // what stands before an id has no case of its own
				if len(n.Names) == 1 && n.Names[0].Name == "promotionsPrefix" {
					list = append(list, route{path: "/promotions/ID", doc: docs["promotion"]}, route{path: "/promotions/lookup", doc: docs["lookup"]})
				}
			}
			return true
		})
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("no path in the source of %s", dir)
	}
	return list, nil
}

// ofServer tells methods of Server, and functions, from other methods.
func ofServer(f *ast.FuncDecl) bool {
	return f.Recv == nil || called(f.Recv.List[0].Type) == "Server"
}

// pathOf is the path that is the first of the expressions.
func pathOf(list []ast.Expr) string {
	if len(list) == 0 {
		return ""
	}
	literal, ok := list[0].(*ast.BasicLit)
	if !ok || literal.Kind != token.STRING {
		return ""
	}
	text, _ := strconv.Unquote(literal.Value)
	if _, path, ok := strings.Cut(text, " "); !strings.HasPrefix(text, "/") && (!ok || !strings.HasPrefix(path, "/")) {
		return ""
	}
	return text
}

// called is the last name in n that is selected: s.only(GET, s.status) is
// status.
func called(n ast.Node) (name string) {
	ast.Inspect(n, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.SelectorExpr:
			name = n.Sel.Name
		case *ast.Ident:
			if name == "" {
				name = n.Name
			}
		}
		return true
	})
	return name
}

// sentence is the first one of f's comment, without the name.
func sentence(f *ast.FuncDecl) string {
	text := strings.Join(strings.Fields(f.Doc.Text()), " ")
	text, _, _ = strings.Cut(text, ". ")
	return strings.TrimSuffix(strings.TrimPrefix(text, f.Name.Name+" "), ".")
}

func (o *observation) endpoints(t *testing.T, pkg string) string {
	t.Helper()
	list := routes(t, pkg)
	for _, r := range list {
		if r.doc == "" {
			t.Errorf("what answers %s in %s has no comment", r.path, pkg)
		}
	}
	return endpointTable(list, o.allow)
}

func endpointTable(list []route, allow map[string]string) string {
	var b strings.Builder
	b.WriteString("| path | methods | what it does |\n|---|---|---|\n")
	for _, r := range list {
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", r.path, cmp.Or(r.method, allow[r.path]), cmp.Or(cell(r.doc), "net/http/pprof"))
	}
	return b.String()
}
