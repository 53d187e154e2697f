package main

import (
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"promostore/format/generation"
	"promostore/internal/gentest"
	"promostore/internal/objecttest"
)

// An updater pushes each generation that it publishes.
func TestUpdaterPushesAfterPublish(t *testing.T) {
	transferTests(t, func(t *testing.T, x *transferTest) {
		p := startUpdater(t, "--data", x.builder, "--hook-timeout", "1m", "--after-publish", "promobuild push '"+x.builder+"' '"+x.url+"'")
		rows, err := os.Open("../../testdata/promotions.csv")
		gentest.Must(t, err)
		defer rows.Close()
		res, err := http.Post("http://"+p.address+"/upload", "text/csv", rows)
		gentest.Must(t, err)
		defer res.Body.Close()
		if text, err := io.ReadAll(res.Body); err != nil || res.StatusCode != http.StatusCreated {
			t.Fatalf("upload: %d %s, %v", res.StatusCode, text, err)
		}
		list, err := generation.List(x.builder)
		gentest.Must(t, err)
		for deadline := time.Now().Add(time.Minute); x.pullCommand().Run() != nil; {
			if time.Now().After(deadline) {
				t.Fatal("the generation is not pushed")
			}
		}
		if got := x.served(t, x.node); got != list[0].ID {
			t.Errorf("the node serves %s, want %s", got, list[0].ID)
		}
	})
}

// Credentials appear in no output, whatever fails.
func TestTransferHidesCredentials(t *testing.T) {
	server := objecttest.New(t)
	server.Setenv(t)
	x := newTransferTest(t, "s3://"+objecttest.Bucket+"/promotions")
	x.build(t)
	server.Accept("another")
	for _, cmd := range []*exec.Cmd{x.pushCommand(), x.pullCommand()} {
		out, err := cmd.CombinedOutput()
		if exitCode(err) != 1 || !strings.Contains(string(out), "access denied") {
			t.Errorf("%v: %v\n%s", cmd.Args, err, out)
		}
		if strings.Contains(string(out), objecttest.SecretAccessKey) {
			t.Errorf("%v prints the secret:\n%s", cmd.Args, out)
		}
	}
	if _, err := os.Stat(filepath.Join(x.node, generation.PinName)); err == nil {
		t.Error("a pin arrived")
	}
}
