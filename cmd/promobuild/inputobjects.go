package main

import (
	"context"
	"errors"
	"fmt"
	"path"
	"strings"

	"promostore/cmd/internal/program"
	"promostore/internal/objects"
	"promostore/internal/tasks"
	"promostore/updater"
)

// patternChars are the characters that make a key a pattern.
const patternChars = `*?[\`

// namedObjects returns the objects that an s3:// URL names: one, or all data sets
// that a pattern matches, in ascending order of their keys. passed are the URLs of
// the other objects that it matches.
func namedObjects(ctx context.Context, arg string, opts objects.Options) (list []tasks.Source, passed []string, err error) {
	s, key, err := objects.Parse(arg, opts)
	if err != nil {
		return nil, nil, err
	}
	if strings.ContainsAny(key, patternChars) {
		return matchObjects(ctx, s, key)
	}
	if key == "" {
		return nil, nil, prefixError(ctx, s, key)
	}
	o, err := statObject(ctx, s, key)
	if errors.Is(err, objects.ErrNotFound) {
		if perr := prefixError(ctx, s, key); perr != nil {
			err = perr
		}
	}
	if err != nil {
		return nil, nil, err
	}
	if isDirectory(o) {
		return nil, nil, prefixError(ctx, s, key)
	}
	return []tasks.Source{{Store: s, Object: o}}, nil, nil
}

// statObject describes an object.
func statObject(ctx context.Context, s objects.Store, key string) (objects.Object, error) {
	r, err := s.Open(ctx, key)
	if err != nil {
		return objects.Object{}, err
	}
	return r.Object(), r.Close()
}

// prefixError returns an error that names the pattern of the objects that begin
// with prefix, or nil if prefix is not empty and there are none.
func prefixError(ctx context.Context, s objects.Store, prefix string) error {
	for o, err := range s.List(ctx, prefix) {
		if err != nil {
			return err
		}
		pattern := prefix + "*"
		if strings.HasPrefix(o.Key, prefix+"/") {
			pattern = prefix + "/*"
		}
		return fmt.Errorf("%s is a prefix, not an object; name its objects, as in '%s'", s.URL(prefix), s.URL(pattern))
	}
	if prefix == "" {
		return fmt.Errorf("%s: the bucket is empty", s.URL(""))
	}
	return nil
}

// matchObjects returns the data sets that pattern matches.
func matchObjects(ctx context.Context, s objects.Store, pattern string) (list []tasks.Source, passed []string, err error) {
	if _, err := path.Match(pattern, ""); err != nil {
		return nil, nil, program.Usagef(`%s: invalid pattern; write \ before a character that stands for itself`, s.URL(pattern))
	}
	for o, err := range s.List(ctx, pattern[:strings.IndexAny(pattern, patternChars)]) {
		if err != nil {
			return nil, nil, err
		}
		switch ok, _ := path.Match(pattern, o.Key); {
		case !ok, isDirectory(o), strings.Count(o.Key, "/") != strings.Count(pattern, "/"): // path.Match lets [^a] match a slash
		case isDataSetKey(pattern, o.Key):
			list = append(list, tasks.Source{Store: s, Object: o})
		default:
			passed = append(passed, s.URL(o.Key))
		}
	}
	switch {
	case len(list) > 0:
		return list, passed, nil
	case len(passed) > 0:
		return nil, nil, fmt.Errorf("%s: no data set matches the pattern, only %s", s.URL(pattern), passedText(passed))
	}
	return nil, nil, fmt.Errorf("%s: no object matches the pattern", s.URL(pattern))
}

// isDirectory reports whether o is a mark that some programs create for a directory.
func isDirectory(o objects.Object) bool { return o.Size == 0 && strings.HasSuffix(o.Key, "/") }

// isDataSetKey reports whether the object of a key that pattern matches can be a
// data set. Names of temporary directories begin with a point or an underscore;
// pattern must contain them as they are.
func isDataSetKey(pattern, key string) bool {
	wanted, names := strings.Split(pattern, "/"), strings.Split(key, "/")
	last := len(names) - 1
	for i, name := range names[:last] {
		if name != "" && strings.ContainsRune("._", rune(name[0])) && wanted[i] != name {
			return false
		}
	}
	return updater.IsDataSetName(names[last])
}

// passedText names some objects that are not read.
func passedText(urls []string) string {
	const most = 3
	text := strings.Join(urls[:min(len(urls), most)], ", ")
	if more := len(urls) - most; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}
