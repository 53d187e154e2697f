//go:build system

package deploy

import (
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	store "promostore/internal/objects"
	"promostore/internal/objecttest"
	"promostore/internal/progtest"
)

// buildOverlay is like the example in kubernetes/build/kustomization.yaml.
const buildOverlay = `resources: [%s]
labels: [{pairs: {app.kubernetes.io/version: v1.0.0}, includeTemplates: true}]
configMapGenerator:
  - name: promo-build
    behavior: merge
    literals: [PROMO_WORK=s3://bucket/work, PROMO_OUT=s3://bucket/promotions, AWS_ENDPOINT_URL_S3=%s]
images: [{name: promostore, newName: registry.example.com/promostore, newTag: v1.0.0}]
patches:
  - target: {kind: Job, name: promo-plan}
    patch: '[{"op": "replace", "path": "/spec/backoffLimit", "value": 0}]'
`

// writeBuildOverlay writes buildOverlay to a new directory.
func writeBuildOverlay(t *testing.T, endpoint string) string {
	t.Helper()
	return writeOverlay(t, func(base string) string { return fmt.Sprintf(buildOverlay, base+"/build", endpoint) })
}

// TestBuildOverlay renders the Jobs of a build and validates them. They have the
// restrictions of other pods, and flags that the program knows.
func TestBuildOverlay(t *testing.T) {
	needs(t, "kustomize")
	text := run(t, "kustomize", "build", writeBuildOverlay(t, "https://minio.example.com"))
	list := objects(t, text)
	wantRecommendedLabels(t, list)
	checkConfined(t, list)
	steps := 0
	p := progtest.Observe(t)
	for _, w := range workloads(list) {
		c := w.Spec.Template.Spec.Containers[0]
		if c.Image != "registry.example.com/promostore:v1.0.0" {
			t.Errorf("%s runs %s", w.Metadata.Name, c.Image)
		}
		name := "promobuild " + c.Command[1]
		for _, f := range flagName.FindAllString(strings.Join(c.Command, " "), -1) {
			if !p.Help(t, name).HasFlag(f) {
				t.Errorf("%s has no flag %s", name, f)
			}
		}
		if w.Kind != "Job" || w.Metadata.Name != "promo-"+c.Command[1] || w.Metadata.Labels["promostore/step"] != c.Command[1] {
			t.Errorf("%s %s runs %q", w.Kind, w.Metadata.Name, c.Command)
		}
		selecting(t, list, "NetworkPolicy", w)
		steps++
	}
	if steps != 4 {
		t.Errorf("%d Jobs, want 4", steps)
	}
	if out, err := validate(t, text); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	for old, bad := range map[string]string{
		"backoffLimitPerIndex: 3":   "backoffLimitPerIndex: many",
		"maxFailedIndexes: 0":       "maxFailedIndex: 0",
		"podFailurePolicy:":         "podFailurePolicies:",
		"completionMode: Indexed":   "completionMode: [Indexed]",
		"ttlSecondsAfterFinished: ": "ttlSecondsAfterFinish: ",
	} {
		if !strings.Contains(text, old) {
			t.Errorf("%q is missing", old)
		} else if out, err := validate(t, strings.Replace(text, old, bad, 1)); err == nil {
			t.Errorf("%q passes: %s", bad, out)
		}
	}
}

// A jobBuild runs run.sh in a controlPlane, with an S3 server of the test.
type jobBuild struct {
	server  *objecttest.Server
	overlay string
	bucket  store.Store
}

func newJobBuild(t *testing.T) *jobBuild {
	t.Helper()
	b := &jobBuild{server: objecttest.New(t)}
	b.server.Setenv(t)
	b.overlay = writeBuildOverlay(t, b.server.URL)
	args := []string{"--namespace", "promostore", "create", "secret", "generic", "promo-build"}
	for name, value := range b.server.Environ() {
		args = append(args, "--from-literal="+name+"="+value)
	}
	run(t, "kubectl", args...)
	s, _, err := store.Parse("s3://"+objecttest.Bucket, b.server.Options())
	if err != nil {
		t.Fatal(err)
	}
	b.bucket = s
	return b
}

// put writes an object.
func (b *jobBuild) put(t *testing.T, key, text string) {
	t.Helper()
	if _, err := b.bucket.Put(t.Context(), key, strings.NewReader(text), int64(len(text)), store.Always); err != nil {
		t.Fatal(err)
	}
}

// run runs run.sh and returns its output and its exit code.
func (b *jobBuild) run(t *testing.T, args ...string) (output string, code int) {
	t.Helper()
	out, err := exec.Command("kubernetes/build/run.sh", append([]string{b.overlay}, args...)...).CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	} else if err != nil {
		code = exit.ExitCode()
	}
	t.Logf("run.sh exits with %d:\n%s", code, out)
	return string(out), code
}

var planLine = regexp.MustCompile(`(?m)^\{.*"generation":"([0-9TZ]+)".*"splits":(\d+)`)

// TestJobsBuild builds a generation by Jobs, in a real control plane. A killed pod is
// replaced, evicted pods do not count, and the files are those of one build.
func TestJobsBuild(t *testing.T) {
	var killed, evicted atomic.Int32
	startControlPlane(t, func(p *podObject) (int, bool) {
		switch step := p.Metadata.Labels["promostore/step"]; {
		case step == "split" && p.index() == "1" && killed.Add(1) == 1:
			return 137, false
		case step == "merge" && p.index() == "2" && evicted.Add(1) == 1:
			return 1, true
		}
		return 0, false
	})
	b := newJobBuild(t)
	var inputs []string
	for i := range 3 {
		path := writeCSV(t, uint64(i), 20_000)
		inputs = append(inputs, path)
		b.put(t, fmt.Sprintf("exports/part-%d.csv", i), readFile(t, path))
	}
	out, code := b.run(t, "s3://bucket/exports/part-*.csv", "--split-size", "500KiB")
	m := planLine.FindStringSubmatch(out)
	if code != 0 || m == nil {
		t.Fatalf("exit %d", code)
	}
	if splits, err := strconv.Atoi(m[2]); err != nil || splits < 5 {
		t.Errorf("%s splits, %v", m[2], err)
	}
	if killed.Load() != 2 || evicted.Load() != 2 {
		t.Errorf("%d pods of the killed task, %d of the evicted one, want 2 of each", killed.Load(), evicted.Load())
	}

	one, pulled := t.TempDir(), t.TempDir()
	run(t, program(t, "promobuild"), append([]string{"build", "--quiet", "--data", one, "--shards", "16", "--generation", m[1]}, inputs...)...)
	run(t, program(t, "promobuild"), "pull", "s3://bucket/promotions", "--data", pulled)
	for _, path := range newest(t, one).Files {
		if readFile(t, path) != readFile(t, filepath.Join(pulled, filepath.Base(path))) {
			t.Errorf("%s differs from that of one build", filepath.Base(path))
		}
	}

	// A bad row fails the Job at once.
	b.put(t, "exports/part-1.csv", "id,price,expiration_date\n"+strings.Repeat("bad,row\n", 3))
	out, code = b.run(t, "s3://bucket/exports/part-*.csv")
	if code != 3 || !strings.Contains(out, "part-1.csv:2:") {
		t.Errorf("after a bad row run.sh exits with %d, want 3 and the row", code)
	}
	if strings.Contains(out, "promo-merge") {
		t.Error("the merges begin although a split has failed")
	}

	// A store that refuses all requests may accept them later.
	b.server.Accept("another")
	if out, code = b.run(t, "s3://bucket/exports/part-*.csv"); code != 1 || !strings.Contains(out, "access denied") {
		t.Errorf("without access run.sh exits with %d, want 1 and the error", code)
	}
}
