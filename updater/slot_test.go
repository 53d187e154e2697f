package updater_test

import (
	"context"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"promostore/format/generation"
	"promostore/updater"
)

// During a build, another upload is rejected before its client sends the body.
func TestUploadRejectedDuringBuild(t *testing.T) {
	f := start(t, nil)
	csv := dataSet(t, 100_000)
	body, feed := io.Pipe()
	first := f.postAsync(t, body)
	_, err := io.WriteString(feed, csv[:len(csv)/2])
	must(t, err)
	await(t, "the build reads", func() bool {
		building, _ := f.get(t, "/status").object["building"].(map[string]any)
		return building["phase"] == "read"
	})

	c := f.dialExpectContinue(t, "1000000000")
	a := readAnswer(t, c) // not 100 Continue
	a.want(t, http.StatusConflict, "busy")
	building, _ := a.object["building"].(map[string]any)
	if building["phase"] != "read" || building["source"] != "upload" {
		t.Errorf("answer without progress: %s", a)
	}
	if after, err := strconv.Atoi(a.header.Get("Retry-After")); err != nil || after < 1 {
		t.Errorf("Retry-After is %q", a.header.Get("Retry-After"))
	}
	f.post(t, strings.NewReader(csv)).want(t, http.StatusConflict, "busy")

	_, err = io.WriteString(feed, csv[len(csv)/2:])
	must(t, err)
	must(t, feed.Close())
	(<-first).want(t, http.StatusCreated, "")
	f.awaitBuilding(t, false)
	f.post(t, strings.NewReader(csv)).want(t, http.StatusCreated, "")
	f.wantGenerations(t, 100_000, 100_000)
}

// A build by another process rejects uploads too, and is not recorded.
func TestUploadRejectedDuringBuildOfOtherProcess(t *testing.T) {
	f := start(t, nil)
	w, err := generation.OpenWriter(f.data)
	must(t, err)
	c := f.dialExpectContinue(t, "1000000000")
	a := readAnswer(t, c)
	a.want(t, http.StatusConflict, "busy")
	if a.header.Get("Retry-After") == "" {
		t.Error("Retry-After is missing")
	}
	must(t, w.Close())
	f.post(t, strings.NewReader(dataSet(t, 10))).want(t, http.StatusCreated, "")
	if n := len(f.builds(t)); n != 1 {
		t.Errorf("%d builds, want 1", n)
	}
}

// Shutdown waits for the running build until its context ends, and then
// interrupts the build.
func TestShutdownWaitsForBuild(t *testing.T) {
	for _, c := range []struct {
		name      string
		interrupt bool
		code      int
		reason    string
	}{
		{"build ends in time", false, http.StatusCreated, ""},
		{"build is interrupted", true, http.StatusServiceUnavailable, "interrupted"},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := start(t, nil)
			body, feed := io.Pipe()
			defer feed.Close()
			got := f.postAsync(t, body)
			csv := dataSet(t, 10_000)
			_, err := io.WriteString(feed, csv[:len(csv)/2])
			must(t, err)
			f.awaitBuilding(t, true)
			ctx, interrupt := context.WithCancel(context.Background())
			defer interrupt()
			stopped := make(chan error, 1)
			go func() { stopped <- f.Shutdown(ctx) }()
			await(t, "/readyz answers 503", func() bool { return f.get(t, "/readyz").code == http.StatusServiceUnavailable })
			f.post(t, strings.NewReader(csv)).want(t, http.StatusServiceUnavailable, "interrupted")
			if c.interrupt {
				interrupt()
			} else {
				_, err := io.WriteString(feed, csv[len(csv)/2:])
				must(t, err)
				must(t, feed.Close())
			}
			(<-got).want(t, c.code, c.reason)
			must(t, <-stopped)
			f.awaitServed(t)
			if c.interrupt {
				f.wantGenerations(t)
			} else {
				f.wantGenerations(t, 10_000)
			}
		})
	}
}

// Shutdown during the start of the inbox and the hooks either stops them or
// prevents their start. The race detector reports a violation.
func TestShutdownDuringStart(t *testing.T) {
	dir := t.TempDir()
	for range 50 {
		f := start(t, func(o *updater.Options) { o.Inbox, o.Hook = dir, "true" })
		f.stop(t)
	}
}
