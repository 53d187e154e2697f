package program

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

func testApp() *cli.App {
	value := func(name string) cli.Flag { return &cli.StringFlag{Name: name} }
	on := func(name string) cli.Flag { return &cli.BoolFlag{Name: name} }
	return &cli.App{
		Name:      "p",
		Writer:    io.Discard,
		ErrWriter: io.Discard,
		Flags:     []cli.Flag{value("listen"), on("only")},
		Action:    NoCommand,
		Commands: []*cli.Command{
			{Name: "build", Usage: "build a generation", ArgsUsage: "FILE...", Flags: []cli.Flag{value("data"), value("memory"), on("json"), on("quiet")}},
			{Name: "inspect", Flags: []cli.Flag{on("json")}},
			{Name: "get"},
			{Name: "health", Flags: []cli.Flag{value("listen"), on("live")}},
		},
	}
}

func TestPermuteMovesFlagsBeforeArguments(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"p", "p"},
		{"p --version", "p --version"},
		{"p --listen :0 health x --live", "p --listen :0 health --live -- x"},
		{"p --listen health build x --json", "p --listen health build --json -- x"}, // the first health is a value
		{"p --only health --live", "p --only health --live --"},
		{"p -- health --live", "p -- health --live"},
		{"p nosuch --x y", "p nosuch --x y"},
		{"p inspect FILE --json", "p inspect --json -- FILE"},
		{"p inspect --json FILE", "p inspect --json -- FILE"},
		{"p inspect FILE -json", "p inspect -json -- FILE"},
		{"p build - --data D --json", "p build --data D --json -- -"},
		{"p build --data - x", "p build --data - -- x"},
		{"p build --data=D x --quiet", "p build --data=D --quiet -- x"},
		{"p build x --data --jsn", "p build --data --jsn -- x"}, // a value may look like a flag
		{"p build x --data=--json", "p build --data=--json -- x"},
		{"p build x -- --json -", "p build -- x --json -"},
		{"p build -- -- x", "p build -- -- x"},
		{"p build x --nosuch y", "p build --nosuch -- x y"},
		{"p build x --help", "p build --help"},
		{"p build x -h y", "p build -h"},
		{"p get DIR a b", "p get -- DIR a b"},
	} {
		got, err := permute(testApp(), strings.Fields(c.in))
		if err != nil || !slices.Equal(got, strings.Fields(c.want)) {
			t.Errorf("permute(%s) = %s, %v, want %s", c.in, strings.Join(got, " "), err, c.want)
		}
	}
	for _, args := range []string{"p build x --memory", "p build x --data --json", "p --listen --only", "p --listen --only health"} {
		_, err := permute(testApp(), strings.Fields(args))
		var usage *UsageError
		if !errors.As(err, &usage) {
			t.Errorf("%s: %v, want a usage error for the flag without a value", args, err)
		}
	}
}
