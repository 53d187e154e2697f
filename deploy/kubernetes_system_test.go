//go:build system

package deploy

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// rendered is what kustomize makes of an overlay as kubernetes/kustomization.yaml
// describes it.
func rendered(t *testing.T) string {
	t.Helper()
	needs(t, "kustomize")
	base, err := filepath.Abs("kubernetes")
	if err != nil {
		t.Fatal(err)
	}
	dir, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	if base, err = filepath.Rel(dir, base); err != nil {
		t.Fatal(err)
	}
	overlay := fmt.Sprintf(`resources: [%s]
images:
  - {name: promostore, newName: registry.example.com/promostore, newTag: v1.0.0}
  - {name: promo-pull, newName: registry.example.com/promo-pull, newTag: v1.0.0}
`, base)
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(overlay), 0o600); err != nil {
		t.Fatal(err)
	}
	return run(t, "kustomize", "build", dir)
}

// validate asks kubectl-validate about objects for Kubernetes 1.30, the oldest
// that the manifests are for.
func validate(t *testing.T, text string) (string, error) {
	t.Helper()
	needs(t, "kubectl-validate")
	path := filepath.Join(t.TempDir(), "objects.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("kubectl-validate", "--version", "1.30", path).CombinedOutput()
	return string(out), err
}

func TestKubernetes(t *testing.T) {
	text := rendered(t)
	list := objects(t, text)
	count := map[string]int{}
	for _, o := range list {
		count[o.Kind]++
		if o.Metadata.Namespace != "promostore" {
			t.Errorf("%s %s is in namespace %q", o.Kind, o.Metadata.Name, o.Metadata.Namespace)
		}
	}
	for _, o := range manifests(t) {
		count[o.Kind]--
	}
	count["ConfigMap"]-- // made of rsyncd.conf
	for kind, n := range count {
		if n != 0 {
			t.Errorf("%+d objects of kind %s", n, kind)
		}
	}
	images := []string{"registry.example.com/promostore:v1.0.0", "registry.example.com/promo-pull:v1.0.0"}
	for _, w := range workloads(t, list) {
		for _, c := range w.Spec.Template.Spec.all() {
			if !slices.Contains(images, c.Image) {
				t.Errorf("%s runs %s", c.Name, c.Image)
			}
		}
	}

	if out, err := validate(t, text); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	for old, bad := range map[string]string{
		"livenessProbe:":                    "livenesProbe:",
		"averageUtilization: 75":            "averageUtilization: much",
		"terminationGracePeriodSeconds: 50": "terminationGracePeriodSeconds: 50s",
		"kind: PodDisruptionBudget":         "kind: PodDisruption",
		"whenUnsatisfiable: ScheduleAnyway": "when: ScheduleAnyway",
		"seconds: 10":                       "second: 10",
	} {
		if !strings.Contains(text, old) {
			t.Errorf("%q is not there", old)
			continue
		}
		if out, err := validate(t, strings.Replace(text, old, bad, 1)); err == nil {
			t.Errorf("%q passes: %s", bad, out)
		}
	}
}
