//go:build system

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"promostore/internal/synth"
)

// An upload by curl stays within the memory of a build.
func TestUploadStaysWithinMemory(t *testing.T) {
	const rows, memory = 20_000_000, 128 << 20
	data := filepath.Join(t.TempDir(), "data")
	p := startUpdater(t, "--data", data, "--memory", "128MiB")
	generate := "promobuild generate --rows " + strconv.Itoa(rows)
	rowsFile := filepath.Join(t.TempDir(), "promotions.csv")
	for _, upload := range []string{
		generate + ` | curl -sS -T - -X POST http://%s/upload`,
		generate + ` >` + rowsFile + ` && curl -sS --form data=@` + rowsFile + ` http://%s/upload`,
	} {
		out, err := exec.Command("bash", "-o", "pipefail", "-c", fmt.Sprintf(upload, p.address)).CombinedOutput()
		var sum struct{ Records int64 }
		if err != nil || json.Unmarshal(out, &sum) != nil || sum.Records != rows {
			t.Fatalf("%s: %v: %s", upload, err, out)
		}
		if peak, limit := peakOf(t, p.Process.Pid), int64(memory+64<<20); peak > limit {
			t.Errorf("%s: peak memory %d bytes, more than %d", upload, peak, limit)
		} else {
			t.Logf("peak memory %d MiB", peak>>20)
		}
	}
}

// peakOf returns the peak resident memory of a process, in bytes.
func peakOf(t *testing.T, pid int) int64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(text), "VmHWM:")
	line, _, _ := strings.Cut(rest, "\n")
	n, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(line, "kB")), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n << 10
}

// An upload that the disk has no space for is answered with 507 and leaves no file. The
// updater remains ready, because a smaller one may fit.
func TestUploadToFullDiskIsRefused(t *testing.T) {
	for _, memory := range []string{"64MiB", "1GiB"} { // with and without a spill
		data := smallDisk(t, "16m")
		p := startUpdater(t, "--data", data, "--memory", memory)
		body, feed := io.Pipe()
		go func() {
			_, err := synth.DataSet{Rows: 3_000_000}.WriteTo(feed)
			feed.CloseWithError(err)
		}()
		res, err := http.Post("http://"+p.address+"/upload", "text/csv", body)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil || res.StatusCode != http.StatusInsufficientStorage || !strings.Contains(string(text), `"reason":"no_space"`) {
			t.Errorf("%s: %s: %s, %v", memory, res.Status, text, err)
		}
		if left := files(t, data); len(left) > 0 {
			t.Errorf("%s: the upload left %v", memory, left)
		}
		fillDisk(t, data)
		if res, err := http.Get("http://" + p.address + "/readyz"); err != nil || res.Body.Close() != nil || res.StatusCode != http.StatusOK {
			t.Errorf("%s: /readyz on a full disk: %v, %v", memory, res, err)
		}
		if err := p.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if err := p.wait(); err != nil {
			t.Errorf("the updater exits with %v", err)
		}
	}
}

// fillDisk writes a file that takes all the space of the disk of dir.
func fillDisk(t *testing.T, dir string) {
	t.Helper()
	f, err := os.Create(filepath.Join(dir, "filler"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := io.Copy(f, zeros{}); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("filling the disk: %v", err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }
