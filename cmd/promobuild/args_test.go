package main

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
)

func TestPermute(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"p", "p"},
		{"p --version", "p --version"},
		{"p nosuch --x y", "p nosuch --x y"},
		{"p inspect FILE --json", "p inspect --json -- FILE"},
		{"p inspect --json FILE", "p inspect --json -- FILE"},
		{"p inspect FILE -json", "p inspect -json -- FILE"},
		{"p build - --data D --json", "p build --data D --json -- -"},
		{"p build --data - x", "p build --data - -- x"},
		{"p build --data=D x --quiet", "p build --data=D --quiet -- x"},
		{"p build x --data --json", "p build --data --json -- x"}, // a value may look like a flag
		{"p build x -- --json -", "p build -- x --json -"},
		{"p build -- -- x", "p build -- -- x"},
		{"p build x --nosuch y", "p build --nosuch -- x y"},
		{"p build x --help", "p build --help"},
		{"p build x -h y", "p build -h"},
		{"p get DIR a b", "p get -- DIR a b"},
		{"p build x --generate-bash-completion", "p build x --generate-bash-completion"},
	} {
		app := newApp(strings.NewReader(""), io.Discard, io.Discard)
		got, err := permute(app, strings.Fields(c.in))
		if err != nil || !slices.Equal(got, strings.Fields(c.want)) {
			t.Errorf("permute(%s) = %s, %v, want %s", c.in, strings.Join(got, " "), err, c.want)
		}
	}
	app := newApp(strings.NewReader(""), io.Discard, io.Discard)
	_, err := permute(app, []string{"p", "build", "x", "--memory"})
	var usage *usageError
	if !errors.As(err, &usage) {
		t.Errorf("--memory without a value: %v", err)
	}
}
