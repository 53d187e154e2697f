package progtest

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"
)

// An Endpoint is a path that a server answers.
type Endpoint struct {
	Path    string
	Methods string // separated by a comma and a space
	Doc     string // first sentence of the comment of the handler, without its name
}

// Endpoints finds the endpoints in the source of a package: paths in the cases of
// a switch, and paths that handlers are registered for.
func Endpoints(dir string) (list []Endpoint, err error) {
	trees, err := parseDir(dir)
	if err != nil {
		return nil, err
	}
	docs := map[string]string{}
	for _, tree := range trees {
		for _, decl := range tree.Decls {
			if f, ok := decl.(*ast.FuncDecl); ok && (f.Recv == nil || lastName(f.Recv.List[0].Type) == "Server") {
				docs[f.Name.Name] = firstSentence(f)
			}
		}
	}
	for _, tree := range trees {
		ast.Inspect(tree, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.CaseClause:
				for i := range n.List {
					if _, path := pathOf(n.List[i:]); path != "" && len(n.Body) > 0 {
						list = append(list, Endpoint{Path: path, Doc: docs[lastName(n.Body[0])]})
					}
				}
			case *ast.CallExpr:
				if s, ok := n.Fun.(*ast.SelectorExpr); !ok || s.Sel.Name != "HandleFunc" {
					break
				}
				method, path := pathOf(n.Args)
				if path = strings.TrimSuffix(path, "{$}"); path != "" && path != "/assets/" && lastName(n.Args[1]) != "notFound" {
					list = append(list, Endpoint{path, method, docs[lastName(n.Args[1])]})
				}
			case *ast.ValueSpec: // the paths with an id have no case
				if len(n.Names) == 1 && n.Names[0].Name == "promotionsPrefix" {
					list = append(list, Endpoint{Path: "/promotions/ID", Doc: docs["promotion"]}, Endpoint{Path: "/promotions/lookup", Doc: docs["lookup"]})
				}
				if len(n.Names) == 1 && n.Names[0].Name == "diffInfix" {
					list = append(list, Endpoint{Path: "/promotions/ID/history", Doc: docs["promotionHistory"]}, Endpoint{Path: "/generations/ID/diff/ID", Doc: docs["diff"]})
				}
			}
			return true
		})
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("no endpoint in the source of %s", dir)
	}
	return list, nil
}

// parseDir parses the source files of a directory, without tests.
func parseDir(dir string) (trees []*ast.File, err error) {
	files := token.NewFileSet()
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
			return err
		}
		tree, err := parser.ParseFile(files, path, nil, parser.ParseComments)
		trees = append(trees, tree)
		return err
	})
	return trees, err
}

// pathOf returns the path that the first of list is, and its method if it has one.
func pathOf(list []ast.Expr) (method, path string) {
	if len(list) == 0 {
		return "", ""
	}
	literal, ok := list[0].(*ast.BasicLit)
	if !ok || literal.Kind != token.STRING {
		return "", ""
	}
	text, _ := strconv.Unquote(literal.Value)
	method, path, ok = strings.Cut(text, " ")
	if !ok {
		method, path = "", text
	}
	if !strings.HasPrefix(path, "/") {
		return "", ""
	}
	return method, path
}

// lastName returns the last selected name in n: "status" in s.only(GET, s.status).
func lastName(n ast.Node) (name string) {
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

// firstSentence returns the first sentence of the comment of f, without its name.
func firstSentence(f *ast.FuncDecl) string {
	text := strings.Join(strings.Fields(f.Doc.Text()), " ")
	text, _, _ = strings.Cut(text, ". ")
	return strings.TrimSuffix(strings.TrimPrefix(text, f.Name.Name+" "), ".")
}
