package program

import (
	"bytes"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"

	"promostore/format"
	"promostore/internal/gentest"
)

func TestCompleteOffersValues(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	gentest.Publish(t, dir, 1, gentest.Sequence(1))
	gentest.Publish(t, dir, 2, gentest.Sequence(1))
	gentest.PublishSharded(t, dir, 2, format.Sharding{Rule: format.ShardLast, Shards: 16}, gentest.Sequence(1)) // is offered once
	gentest.Publish(t, other, 3, gentest.Sequence(1))
	data := func() cli.Flag {
		f := &cli.StringFlag{Name: "data", Value: dir, Usage: "use `DIR`"}
		WithEnv([]cli.Flag{f})
		return f
	}
	app := &cli.App{
		Name: "p", Version: "1", Writer: io.Discard, ErrWriter: io.Discard,
		Flags: []cli.Flag{&cli.StringFlag{Name: "listen", Usage: "listen on `ADDRESS`"}, &cli.StringFlag{Name: "log-format", Usage: "`text|json`"}},
		Commands: []*cli.Command{
			{Name: "build", ArgsUsage: "FILE... | -", Usage: "build it", Flags: []cli.Flag{data(), &cli.StringFlag{Name: "generation", Usage: "name it `ID`"}, &cli.BoolFlag{Name: "json", Usage: "print JSON"}}},
			{Name: "pin", ArgsUsage: "ID", Flags: []cli.Flag{data()}},
			{Name: "get", ArgsUsage: "[FILE|DIR] ID...", Flags: []cli.Flag{data(), &cli.StringFlag{Name: "generation", Usage: "read `ID`"}}},
			{Name: "list", ArgsUsage: "[DIR]", Flags: []cli.Flag{data()}},
			{Name: "completion", ArgsUsage: "bash|zsh|fish"},
		},
	}
	const first, second, third = "19700101T000000001Z\t1970-01-01 00:00:00 UTC", "19700101T000000002Z\t1970-01-01 00:00:00 UTC", "19700101T000000003Z\t1970-01-01 00:00:00 UTC"
	for _, c := range []struct {
		words []string
		want  []string
	}{
		{[]string{"b"}, []string{"build\tbuild it"}},
		{[]string{"--log"}, []string{"--log-format\ttext|json"}},
		{[]string{"--log-format", ""}, []string{"text", "json"}},
		{[]string{"--log-format=j"}, []string{"--log-format=json"}},
		{[]string{"--listen", ""}, nil},
		{[]string{"--listen", ":1", "pi"}, []string{"pin"}},
		{[]string{"nosuch", ""}, nil},
		{[]string{"build", "--j"}, []string{"--json\tprint JSON"}},
		{[]string{"build", "x", "--he"}, []string{"--help\tshow help"}},
		{[]string{"build", ""}, []string{":files"}},
		{[]string{"build", "--data", ""}, []string{":directories"}},
		{[]string{"build", "--data=x"}, []string{":directories"}},
		{[]string{"build", "--generation", ""}, nil},
		{[]string{"build", "--", "--j"}, []string{":files"}},
		{[]string{"pin", ""}, []string{second, first}},
		{[]string{"pin", "19700101T000000001"}, []string{first}},
		{[]string{"pin", "--data", other, ""}, []string{third}},
		{[]string{"pin", "--data=" + other, ""}, []string{third}},
		{[]string{"pin", "--data", other + "/nosuch", ""}, nil},
		{[]string{"get", ""}, []string{second, first, ":files"}},
		{[]string{"get", "--generation", ""}, []string{second, first}},
		{[]string{"get", "--generation=19700101T000000002"}, []string{"--generation=" + second}},
		{[]string{"list", ""}, []string{":directories"}},
		{[]string{"completion", "z"}, []string{"zsh"}},
		{[]string{"help", "li"}, []string{"list"}},
	} {
		var out bytes.Buffer
		complete(app, c.words, &out)
		if got := strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n"); !slices.Equal(got, c.want) && (out.Len() > 0 || len(c.want) > 0) {
			t.Errorf("complete(%q) = %q, want %q", c.words, got, c.want)
		}
	}
	t.Setenv("PROMO_DATA", other)
	var out bytes.Buffer
	complete(app, []string{"pin", ""}, &out)
	if out.String() != third+"\n" {
		t.Errorf("with PROMO_DATA: %q, want %q", &out, third)
	}
}
