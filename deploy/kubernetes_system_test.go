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
	"regexp"
	"slices"
	"strings"
	"testing"

	"promostore/internal/progtest"
)

// overlay is like the examples in kubernetes/kustomization.yaml and
// kubernetes/monitoring/kustomization.yaml.
const overlay = `resources: [%[1]s]
components: [%[2]s%[1]s/monitoring]
labels: [{pairs: {app.kubernetes.io/version: v1.0.0}}]
images:
  - {name: promostore, newName: registry.example.com/promostore, newTag: v1.0.0}
  - {name: promo-pull, newName: registry.example.com/promo-pull, newTag: v1.0.0}
`

// rendered returns the output of kustomize for overlay with more lines, and with more
// components, separated by blanks.
func rendered(t *testing.T, component, lines string) string {
	t.Helper()
	needs(t, "kustomize")
	return run(t, "kustomize", "build", writeOverlay(t, func(base string) string {
		var added string
		for _, name := range strings.Fields(component) {
			added += filepath.Join(base, name) + ", "
		}
		return fmt.Sprintf(overlay+lines, base, added)
	}))
}

// writeOverlay writes a kustomization.yaml to a new directory. text returns its content
// for the path of the directory kubernetes.
func writeOverlay(t *testing.T, text func(base string) string) (dir string) {
	t.Helper()
	base, err := filepath.Abs("kubernetes")
	if err != nil {
		t.Fatal(err)
	}
	if dir, err = filepath.EvalSymlinks(t.TempDir()); err != nil {
		t.Fatal(err)
	}
	if base, err = filepath.Rel(dir, base); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(text(base)), 0o600); err != nil {
		t.Fatal(err)
	}
	return dir
}

// validate validates objects for Kubernetes 1.30, the oldest supported version, and
// for the Prometheus operator.
func validate(t *testing.T, text string) (string, error) {
	t.Helper()
	needs(t, "kubectl-validate")
	program, err := exec.LookPath("kubectl-validate")
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "objects.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(program, "--version", "1.30", "--local-crds", filepath.Join(filepath.Dir(program), "crds"), path).CombinedOutput()
	return string(out), err
}

// TestKustomization renders the manifests and validates them. Manifests with an
// error must not validate.
func TestKustomization(t *testing.T) {
	text := rendered(t, "", "")
	list := objects(t, text)
	count := map[string]int{}
	for _, o := range list {
		count[o.Kind]++
		if o.Metadata.Namespace != "promostore" {
			t.Errorf("%s %s is in namespace %q", o.Kind, o.Metadata.Name, o.Metadata.Namespace)
		}
	}
	for _, o := range slices.Concat(manifests(t), manifestsOf(t, "kubernetes/monitoring")) {
		count[o.Kind]--
	}
	count["ConfigMap"]-- // generated from rsyncd.conf
	for kind, n := range count {
		if n != 0 {
			t.Errorf("%+d objects of kind %s", n, kind)
		}
	}
	wantRecommendedLabels(t, list)
	images := []string{"registry.example.com/promostore:v1.0.0", "registry.example.com/promo-pull:v1.0.0"}
	for _, w := range workloads(list) {
		if a := w.Spec.Template.Metadata.Annotations; len(a) > 0 {
			t.Errorf("%s is scraped for its annotations too: %q", w.Metadata.Name, a)
		}
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
		"path: /metrics":                    "paths: /metrics",
		"for: 2m":                           "for: 2 minutes",
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

// TestObjectStorageOverlay renders the component s3, alone and after groups. No pod
// uses rsync, and the commands have flags that the program knows.
func TestObjectStorageOverlay(t *testing.T) {
	p := progtest.Observe(t)
	for _, component := range []string{"s3", "groups/two s3"} {
		text := rendered(t, component, "")
		list := objects(t, text)
		wantRecommendedLabels(t, list)
		checkConfined(t, list)
		if strings.Contains(text, "secretName: promo-rsync") || strings.Contains(text, "rsync://") || strings.Contains(text, "port: rsync") {
			t.Errorf("%s: a pod uses rsync", component)
		}
		pulls := 0
		for _, w := range workloads(list) {
			for _, c := range w.Spec.Template.Spec.all() {
				command := strings.Join(c.Command, " ")
				for name, use := range map[string]string{"promobuild pull": "promobuild pull ", "promobuild push": "promobuild push "} {
					_, rest, found := strings.Cut(command, use)
					if !found {
						continue
					}
					pulls++
					line, _, _ := strings.Cut(rest, "\n")
					for _, f := range flagName.FindAllString(line, -1) {
						if !p.Help(t, name).HasFlag(f) {
							t.Errorf("%s has no flag %s", name, f)
						}
					}
				}
			}
		}
		if pulls < 2 {
			t.Errorf("%s: %d pushes and pulls", component, pulls)
		}
		if out, err := validate(t, text); err != nil {
			t.Errorf("%s: %v\n%s", component, err, out)
		}
	}
}

// s3Overlay writes the example of kubernetes/s3/kustomization.yaml to a new directory.
func s3Overlay(t *testing.T) string {
	t.Helper()
	example := regexp.MustCompile(`(?s)#   patches:\n.*?\n#\n`).FindString(readFile(t, "kubernetes/s3/kustomization.yaml"))
	return writeOverlay(t, func(base string) string {
		return fmt.Sprintf("resources: [%[1]s]\ncomponents: [%[1]s/s3]\n", base) + strings.NewReplacer("#   ", "", "#\n", "").Replace(example)
	})
}

// TestKubectlFindsConfigMaps renders the kustomizations with the kubectl of the oldest
// supported version, whose kustomize is old. The ConfigMaps of all pods are there.
func TestKubectlFindsConfigMaps(t *testing.T) {
	needs(t, "kubectl")
	name := regexp.MustCompile(`(?m)configMap(?:Ref)?:\n +name: (\S+)|^kind: ConfigMap\n(?:[^-].*\n)*?  name: (\S+)`)
	for _, dir := range []string{"kubernetes", s3Overlay(t), writeBuildOverlay(t, "https://minio.example.com")} {
		used, there := 0, map[string]bool{}
		list := name.FindAllStringSubmatch(run(t, "kubectl", "kustomize", dir), -1)
		for _, m := range list {
			there[m[2]] = true
		}
		for _, m := range list {
			if m[1] == "" {
				continue
			}
			used++
			if !there[m[1]] {
				t.Errorf("%s: a pod refers to the ConfigMap %s, which is missing", dir, m[1])
			}
		}
		if used == 0 {
			t.Errorf("%s: no pod refers to a ConfigMap", dir)
		}
	}
}

// wantRecommendedLabels checks that objects and pods have the recommended labels of
// Kubernetes.
func wantRecommendedLabels(t *testing.T, list []object) {
	t.Helper()
	for _, o := range list {
		want := []string{"name", "instance", "component", "part-of", "managed-by"}
		pod := o.Spec.Template.Metadata.Labels
		for _, name := range want {
			name = "app.kubernetes.io/" + name
			if o.Metadata.Labels[name] == "" {
				t.Errorf("%s %s has no label %s", o.Kind, o.Metadata.Name, name)
			}
			if len(o.Spec.Template.Spec.Containers) > 0 && pod[name] != o.Metadata.Labels[name] {
				t.Errorf("the pod of %s has the label %s=%s", o.Metadata.Name, name, pod[name])
			}
		}
		if o.Metadata.Labels["app.kubernetes.io/version"] != "v1.0.0" {
			t.Errorf("%s %s has the labels %q", o.Kind, o.Metadata.Name, o.Metadata.Labels)
		}
	}
}

// runbookOverlay sets the address of the runbook.
const runbookOverlay = `
configMapGenerator:
  - name: runbook
    literals: [url=https://runbooks.example.com/promostore]
    options: {annotations: {config.kubernetes.io/local-config: "true"}}
replacements:
  - source: {kind: ConfigMap, name: runbook, fieldPath: data.url}
    targets:
      - select: {kind: PrometheusRule, name: promostore}
        fieldPaths: [spec.groups.*.rules.*.annotations.runbook_url]
        options: {delimiter: "#"}
`

// TestRunbookLinks checks that alerts for the Prometheus operator link to sections of
// the runbook, at an address that an overlay can set.
func TestRunbookLinks(t *testing.T) {
	for lines, address := range map[string]string{
		"":             "https://git.example.com/promostore/blob/main/docs/runbook.md",
		runbookOverlay: "https://runbooks.example.com/promostore",
	} {
		links := 0
		for _, g := range find(t, objects(t, rendered(t, "", lines)), "PrometheusRule", "promostore").Spec.Groups {
			for _, r := range g.Rules {
				if r.Alert == "" {
					continue
				}
				links++
				if want := address + "#" + strings.ToLower(r.Alert); r.Annotations["runbook_url"] != want {
					t.Errorf("%s links to %s, want %s", r.Alert, r.Annotations["runbook_url"], want)
				}
			}
		}
		if links == 0 {
			t.Error("there are no alerts")
		}
	}
}

// digitsLabel is the label with the digits of a group.
const digitsLabel = "promostore/digits"

// A cluster runs the containers of the manifests in Docker, with the settings for
// which Docker has a flag.
type cluster struct {
	image, network string
	rsync          string            // the daemon, with its port
	files          map[string]string // directories of volumes, by name
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	needs(t, "docker", "ldd", "haproxy")
	name := fmt.Sprintf("promostore-pods-%d", os.Getpid())
	updater := find(t, manifests(t), "StatefulSet", "promo-updater").Spec.Template.Spec
	c := &cluster{image: name, network: name, rsync: fmt.Sprintf("rsync:%d", updater.port("rsync")), files: map[string]string{}}
	// One image with the programs of both, and one for the router.
	build, serve := program(t, "promobuild"), program(t, "promoserve")
	importImage(t, name, []string{"ENV PATH=/usr/local/bin:/usr/bin:/bin", "ENV PROMO_DATA=/data"}, func(tw *tar.Writer) error {
		return errors.Join(debian().fill(tw), addDir(tw, "data/", 0o755, 65532), addFile(tw, serve, "promoserve"), addFile(tw, build, "promobuild"),
			addFile(tw, build, "usr/local/bin/promobuild"), addFile(tw, "rsync/promo-pull", "usr/local/bin/promo-pull"))
	})
	importImage(t, c.router(), []string{"ENV PATH=/bin"}, func(tw *tar.Writer) error { return addPrograms(tw, "/usr/sbin/haproxy=bin/haproxy") })
	run(t, "docker", "network", "create", name)
	t.Cleanup(func() { run(t, "docker", "network", "rm", name) })
	for volume, file := range map[string][2]string{
		"tokens":  {"tokens", "token\n"},
		"secrets": {"rsyncd.secrets", "promo:secret\n"},
		"rsyncd":  {"rsyncd.conf", readFile(t, "kubernetes/rsyncd.conf")},
		"config":  {"haproxy.cfg", readFile(t, "kubernetes/groups/two/haproxy.cfg")},
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

// router returns the name of the image of the router.
func (c *cluster) router() string { return c.image + "-router" }

// volume returns the name of the volume of a workload's pod.
func (c *cluster) volume(w *object) string { return c.image + "-" + w.Metadata.Name }

// removeVolumes removes the volumes of the pods when the test ends.
func (c *cluster) removeVolumes(t *testing.T, list []object) {
	t.Cleanup(func() {
		for _, w := range workloads(list) {
			run(t, "docker", "volume", "rm", "--force", c.volume(w))
		}
	})
}

// stop stops containers as Kubernetes does, and checks how they end.
func (c *cluster) stop(t *testing.T, ids ...string) {
	t.Helper()
	for _, id := range ids {
		run(t, "docker", "stop", "--time", "60", id)
		end := strings.TrimSpace(run(t, "docker", "inspect", "--format", "{{.State.ExitCode}} {{.Path}}", id))
		if !strings.HasPrefix(end, "0 ") && end != "20 rsync" { // rsync exits with 20 after SIGTERM
			t.Errorf("a container ends with %s", end)
		}
	}
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
			m.Name = c.volume(w)
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
	for _, v := range all[i].Env {
		switch field := v.ValueFrom.FieldRef.FieldPath; field {
		case "metadata.namespace":
			v.Value = "promostore"
		case "metadata.labels['" + digitsLabel + "']":
			v.Value = w.Spec.Template.Metadata.Labels[digitsLabel]
		}
		args = append(args, "--env", v.Name+"="+v.Value)
	}
	image := c.image
	if name == "haproxy" {
		image = c.router()
	}
	args = append(append(args, flags...), image)
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
	c.removeVolumes(t, list)
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
	slices.Reverse(ids)
	c.stop(t, ids...)
}
