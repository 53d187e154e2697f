// Package apitest compares the answers of servers in tests with the OpenAPI
// document.
package apitest

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/getkin/kin-openapi/openapi3"

	"promostore/openapi"
)

// Tags of operations, which name their servers.
const (
	Promoserve = "promoserve"
	Updater    = "updater"
	Admin      = "admin"
)

// A route is an operation of the document.
type route struct {
	template string // of the path
	method   string
	path     *regexp.Regexp
	*openapi3.Operation
}

// A Checker compares answers of one server with the document. It is safe for
// concurrent use.
type Checker struct {
	doc    *openapi3.T
	routes []route  // those with more text outside of parameters first
	valid  sync.Map // bodies that are valid: key
}

// key identifies a body and the schema that it is valid for.
type key struct {
	schema *openapi3.Schema
	sum    [sha256.Size]byte
}

// Load returns the document. It returns an error if the document violates the rules
// of OpenAPI.
func Load() (*openapi3.T, error) {
	doc, err := openapi3.NewLoader().LoadFromData(openapi.Document())
	if err != nil {
		return nil, err
	}
	return doc, doc.Validate(context.Background())
}

// New returns a Checker of the operations with a tag.
func New(tag string) (*Checker, error) {
	doc, err := Load()
	if err != nil {
		return nil, err
	}
	c := &Checker{doc: doc}
	for path, item := range doc.Paths.Map() {
		for method, op := range item.Operations() {
			if slices.Contains(op.Tags, tag) {
				c.routes = append(c.routes, route{path, method, pattern(path), op})
			}
		}
	}
	literal := func(r route) int { return len(parameter.ReplaceAllString(r.template, "")) }
	slices.SortFunc(c.routes, func(a, b route) int {
		return cmp.Or(literal(b)-literal(a), strings.Compare(a.template, b.template))
	})
	return c, nil
}

var parameter = regexp.MustCompile(`\{[a-z]+\}`)

// pattern returns the paths that a template means. A parameter may have slashes:
// servers decode a path before they compare it.
func pattern(template string) *regexp.Regexp {
	literals := parameter.Split(template, -1)
	for i, text := range literals {
		literals[i] = regexp.QuoteMeta(text)
	}
	return regexp.MustCompile("^" + strings.Join(literals, ".+") + "$")
}

// An Answer is an answer of a server.
type Answer struct {
	Method, Path string // of the request; empty: unknown
	Code         int
	Header       http.Header
	Body         []byte // nil: unknown, or the answer has none
	Partial      bool   // the body was not read to its end
}

// anyRequest names the responses to requests that the document does not have.
var anyRequest = map[int]string{
	400: "Malformed", 404: "UnknownPath", 405: "OtherMethod", 408: "Slow", 413: "LongBody", 417: "Expectation", 429: "Busy",
	431: "LongHeaders", 500: "Failed", 501: "Coding", 505: "HTTPVersion",
}

// Check returns how a contradicts the document. The answer to an unknown request
// must be documented for one of the requests.
func (c *Checker) Check(a Answer) error {
	if a.Code < 200 {
		return nil // another one follows
	}
	method, template := a.Method, ""
	if method == http.MethodHead {
		method = http.MethodGet
	}
	var errs error
	for _, r := range c.routes {
		if a.Path != "" && (!r.path.MatchString(a.Path) || template != "" && template != r.template) {
			continue
		}
		if template = r.template; a.Path != "" && r.method != method {
			continue
		}
		response := r.Responses.Value(strconv.Itoa(a.Code))
		if response == nil {
			errs = errors.Join(errs, fmt.Errorf("%s has no status %d", r.OperationID, a.Code))
			continue
		}
		err := c.checkResponse(a, response.Value)
		if err == nil || a.Path != "" {
			return err
		}
		errs = errors.Join(errs, fmt.Errorf("%s: %w", r.OperationID, err))
	}
	if errs != nil && a.Path != "" {
		return errs
	}
	// The answer to another request than those of the document.
	name, ok := anyRequest[a.Code]
	if !ok || a.Code == http.StatusMethodNotAllowed && template == "" {
		return errors.Join(errs, fmt.Errorf("no request has the status %d", a.Code))
	}
	return c.checkResponse(a, c.doc.Components.Responses[name].Value)
}

// ignored lists the headers that HTTP itself needs, and one that only browsers read.
var ignored = []string{"Connection", "Content-Length", "Content-Type", "Date", "Server", "Transfer-Encoding", "X-Content-Type-Options"}

func (c *Checker) checkResponse(a Answer, r *openapi3.Response) error {
	documented := slices.Clone(ignored)
	for name, h := range r.Headers {
		documented = append(documented, http.CanonicalHeaderKey(name))
		value := a.Header.Get(name)
		switch {
		case value == "" && h.Value.Required:
			return fmt.Errorf("the header %s is missing", name)
		case value == "":
			continue
		}
		if err := c.checkValue(h.Value.Schema.Value, []byte(strconv.Quote(value)), value); err != nil {
			return fmt.Errorf("header %s: %w", name, err)
		}
	}
	for name := range a.Header {
		if !slices.Contains(documented, name) {
			return fmt.Errorf("undocumented header %s", name)
		}
	}
	if a.Method == http.MethodHead || a.Partial {
		return nil
	}
	if len(a.Body) == 0 && len(r.Content) == 0 {
		return nil
	}
	mediaType, _, _ := mime.ParseMediaType(a.Header.Get("Content-Type"))
	content := r.Content[mediaType]
	switch {
	case content == nil:
		return fmt.Errorf("undocumented content type %q", mediaType)
	case mediaType != "application/json":
		return nil
	}
	var value any
	if err := json.Unmarshal(a.Body, &value); err != nil {
		return err
	}
	return c.checkValue(content.Schema.Value, a.Body, value)
}

// checkValue checks a value whose text is given. It compiles a schema each time, so
// it remembers which texts are valid.
func (c *Checker) checkValue(schema *openapi3.Schema, text []byte, value any) error {
	k := key{schema, sha256.Sum256(text)}
	if _, ok := c.valid.Load(k); ok {
		return nil
	}
	err := schema.VisitJSON(value, openapi3.EnableJSONSchema2020())
	if err == nil {
		c.valid.Store(k, true)
	}
	return err
}
