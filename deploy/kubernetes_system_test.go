//go:build system

package deploy

import (
	"archive/tar"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// rendered returns the output of kustomize for an overlay like the example in
// kubernetes/kustomization.yaml.
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

// validate validates objects for Kubernetes 1.30, the oldest supported version.
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

// TestKustomization renders the manifests and validates them. Manifests with an
// error must not validate.
func TestKustomization(t *testing.T) {
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
	count["ConfigMap"]-- // generated from rsyncd.conf
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
			t.Errorf("%q is missing", old)
			continue
		}
		if out, err := validate(t, strings.Replace(text, old, bad, 1)); err == nil {
			t.Errorf("%q passes: %s", bad, out)
		}
	}
}

// A cluster runs the containers of the manifests in Docker, with the settings for
// which Docker has a flag.
type cluster struct {
	image, network string
	rsync          string            // the daemon, with its port
	files          map[string]string // directories of volumes, by name
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	needs(t, "docker", "ldd")
	name := fmt.Sprintf("promostore-pods-%d", os.Getpid())
	updater := find(t, manifests(t), "StatefulSet", "promo-updater").Spec.Template.Spec
	c := &cluster{image: name, network: name, rsync: fmt.Sprintf("rsync:%d", updater.port("rsync")), files: map[string]string{}}
	// One image with the programs of both.
	build, serve := program(t, "promobuild"), program(t, "promoserve")
	importImage(t, name, []string{"ENV PATH=/usr/local/bin:/usr/bin:/bin", "ENV PROMO_DATA=/data"}, func(tw *tar.Writer) error {
		return errors.Join(debian().fill(tw), addDir(tw, "data/", 0o755, 65532), addFile(tw, serve, "promoserve"), addFile(tw, build, "promobuild"),
			addFile(tw, build, "usr/local/bin/promobuild"), addFile(tw, "rsync/promo-pull", "usr/local/bin/promo-pull"))
	})
	run(t, "docker", "network", "create", name)
	t.Cleanup(func() { run(t, "docker", "network", "rm", name) })
	for volume, file := range map[string][2]string{
		"tokens":  {"tokens", "token\n"},
		"secrets": {"rsyncd.secrets", "promo:secret\n"},
		"rsyncd":  {"rsyncd.conf", readFile(t, "kubernetes/rsyncd.conf")},
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, file[0])
		if err := errors.Join(os.Chmod(dir, 0o755), os.WriteFile(path, []byte(file[1]), 0o440), os.Chmod(path, 0o440), os.Chown(path, 0, 65532)); err != nil {
			t.Fatal(err)
		}
		c.files[volume] = dir
	}
	return c
}

// start starts a container of a workload and returns its ID. There are no services,
// so it replaces the service name of the rsync daemon by its host and port.
func (c *cluster) start(t *testing.T, w *object, name string, flags ...string) string {
	t.Helper()
	pod := &w.Spec.Template.Spec
	all := pod.all()
	i := slices.IndexFunc(all, func(c container) bool { return c.Name == name })
	if i < 0 {
		t.Fatalf("%s has no container %s", w.Metadata.Name, name)
	}
	args := []string{"run", "--detach", "--network", c.network, "--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges",
		"--user", fmt.Sprintf("%d:%d", pod.SecurityContext.RunAsUser, pod.SecurityContext.RunAsGroup)}
	for _, m := range all[i].VolumeMounts {
		switch {
		case m.Name == "tmp":
			args = append(args, "--tmpfs", m.MountPath)
			continue
		case m.Name == "data":
			m.Name = c.image + "-" + w.Metadata.Name
		case c.files[m.Name] != "":
			m.Name = c.files[m.Name]
		default:
			t.Fatalf("a volume %s", m.Name)
		}
		mount := m.Name + ":" + m.MountPath
		if m.ReadOnly {
			mount += ":ro"
		}
		args = append(args, "--volume", mount)
	}
	args = append(append(args, flags...), c.image)
	for _, word := range all[i].Command {
		args = append(args, strings.ReplaceAll(word, "@promo-updater/", "@"+c.rsync+"/"))
	}
	id := strings.TrimSpace(run(t, "docker", args...))
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s:\n%s", name, run(t, "docker", "logs", id))
		}
		run(t, "docker", "rm", "--force", "--volumes", id)
	})
	return id
}

// TestPodsRun runs the containers of both workloads, with the restrictions of the
// manifests, through two uploads.
func TestPodsRun(t *testing.T) {
	list := manifests(t)
	c := newCluster(t)
	t.Cleanup(func() {
		for _, w := range workloads(t, list) {
			run(t, "docker", "volume", "rm", "--force", c.image+"-"+w.Metadata.Name)
		}
	})
	updater, api := find(t, list, "StatefulSet", "promo-updater"), find(t, list, "Deployment", "promo-api")
	addresses := [2]string{freeAddress(t), freeAddress(t)}
	ids := []string{
		c.start(t, updater, "updater", "--publish", addresses[0]+":1322"),
		c.start(t, updater, "rsync", "--network-alias", "rsync"),
		c.start(t, api, "pull", "--env", "RSYNC_PASSWORD=secret"),
		c.start(t, api, "api", "--publish", addresses[1]+":1321"),
	}
	url := "http://" + addresses[1]
	for path, want := range map[string]int{"/healthz": http.StatusOK, "/readyz": http.StatusServiceUnavailable} {
		waitFor(t, "the API responds", func() bool { _, err := get(url + path); return err == nil })
		if a, err := get(url + path); err != nil || a.status != want {
			t.Errorf("%s of an API without a generation: %d, %v", path, a.status, err)
		}
	}
	waitFor(t, "the updater is ready", func() bool {
		a, err := get("http://" + addresses[0] + "/readyz")
		return err == nil && a.status == http.StatusOK
	})
	for seed := range uint64(2) {
		waitLive(t, url, upload(t, "http://"+addresses[0], "token", seed))
	}
	for _, id := range slices.Backward(ids) {
		run(t, "docker", "stop", "--time", "60", id)
		end := strings.TrimSpace(run(t, "docker", "inspect", "--format", "{{.State.ExitCode}} {{.Path}}", id))
		if !strings.HasPrefix(end, "0 ") && end != "20 rsync" { // rsync exits with 20 after SIGTERM
			t.Errorf("a container ends with %s", end)
		}
	}
}
