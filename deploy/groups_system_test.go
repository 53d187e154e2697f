//go:build system

package deploy

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"promostore/format"
)

// TestGroups renders the manifests with groups of servers, and checks them like those
// without. No object of the servers of all ids may remain, except for the service
// with its address.
func TestGroups(t *testing.T) {
	for name, digits := range groups {
		t.Run(name, func(t *testing.T) {
			text := rendered(t, "groups/"+name, "")
			if out, err := validate(t, text); err != nil {
				t.Errorf("%v\n%s", err, out)
			}
			list := objects(t, text)
			wantRecommendedLabels(t, list)
			checkPods(t, list, 1+len(digits))
			checkConfined(t, list)
			if n := checkConnections(t, list); n != 3+len(digits) {
				t.Errorf("%d ports of services, want %d", n, 3+len(digits))
			}
			names := []string{"promo-router"}
			for _, d := range digits {
				name := "promo-api-" + d
				names = append(names, name)
				checkScaling(t, list, name)
				if s := find(t, list, "Service", name).Spec; s.ClusterIP != "None" || s.Selector[digitsLabel] != d {
					t.Errorf("the service %s with the address %q selects %v", name, s.ClusterIP, s.Selector)
				}
				if hpa := find(t, list, "HorizontalPodAutoscaler", name).Spec; hpa.MaxReplicas >= podsPerGroup {
					t.Errorf("%s has up to %d pods, and one more during a change; the router knows %d", name, hpa.MaxReplicas, podsPerGroup)
				}
				for _, c := range find(t, list, "Deployment", name).Spec.Template.Spec.all() {
					if i := slices.IndexFunc(c.Env, func(v envVar) bool { return v.Name == "PROMO_DIGITS" }); i < 0 || c.Env[i].ValueFrom.FieldRef.FieldPath != "metadata.labels['"+digitsLabel+"']" {
						t.Errorf("%s of %s has the variables %+v", c.Name, name, c.Env)
					}
				}
			}
			// While groups replace the servers of all ids, both exist.
			old := manifests(t)
			for _, w := range workloads(list) {
				if w.Kind == "Deployment" && selects(find(t, old, "Service", "promo-api").Spec.Selector, w) {
					t.Errorf("the service of all ids sends requests to %s", w.Metadata.Name)
				}
			}
			checkEvictions(t, list, "promo-router")
			// Groups and the router are applied before the rest, selected by these labels.
			for kind, want := range map[string]int{"Service": len(digits), "ConfigMap": 1, "NetworkPolicy": 1} {
				n := 0
				for _, o := range list {
					if o.Kind == kind && (o.Metadata.Labels[digitsLabel] != "" || o.Metadata.Labels["app.kubernetes.io/name"] == "promo-router") {
						n++
					}
				}
				if n != want {
					t.Errorf("%d objects of kind %s belong to groups or to the router, want %d", n, kind, want)
				}
			}
			slices.Sort(names)
			for _, kind := range []string{"Deployment", "HorizontalPodAutoscaler", "PodDisruptionBudget"} {
				var got []string
				for _, o := range list {
					if o.Kind == kind {
						got = append(got, o.Metadata.Name)
					}
				}
				if slices.Sort(got); !slices.Equal(got, names) {
					t.Errorf("%s: %q, want %q", kind, got, names)
				}
			}
			wantLabels(t, "the service promo-api", find(t, list, "Service", "promo-api").Spec.Selector, find(t, list, "Deployment", "promo-router"))
			updater := find(t, list, "StatefulSet", "promo-updater").Spec.Template.Spec.Containers[0]
			if v := updater.Env; len(v) != 1 || v[0].Name != "PROMO_SHARDS" || v[0].Value != "16" {
				t.Errorf("the updater has the variables %+v", v)
			}
		})
	}
}

// groupsOverlay is like the examples in the directories group and router of
// kubernetes/groups.
const groupsOverlay = `
patches:
  - target: {kind: Deployment, labelSelector: promostore/digits}
    patch: |
      - {op: replace, path: /spec/template/spec/containers/0/resources/requests/memory, value: 2Gi}
      - {op: replace, path: /spec/template/spec/initContainers/0/resources/requests/ephemeral-storage, value: 5Gi}
      - {op: replace, path: /spec/template/spec/volumes/0/emptyDir/sizeLimit, value: 5Gi}
  - target: {kind: Deployment|StatefulSet, labelSelector: "app.kubernetes.io/component in (updater,router)"}
    patch: '[{"op": "add", "path": "/spec/template/spec/containers/0/env/-", "value": {"name": "PROMO_SHARD_BY", "value": "first"}}]'
`

// TestGroupsOverlay checks that an overlay can set the size of all groups, and the
// rule of the updater and of the router.
func TestGroupsOverlay(t *testing.T) {
	list := objects(t, rendered(t, "groups/two", groupsOverlay))
	checkConfined(t, list) // the disk is that of the volume
	for _, digits := range groups["two"] {
		pod := find(t, list, "Deployment", "promo-api-"+digits).Spec.Template.Spec
		memory, disk := pod.Containers[0].Resources.Requests["memory"], pod.InitContainers[0].Resources.Requests["ephemeral-storage"]
		if memory != "2Gi" || disk != "5Gi" {
			t.Errorf("pods of %s request %s of memory and %s of disk", digits, memory, disk)
		}
	}
	for kind, name := range map[string]string{"StatefulSet": "promo-updater", "Deployment": "promo-router"} {
		v := find(t, list, kind, name).Spec.Template.Spec.Containers[0].Env
		if len(v) != 2 || v[1].Name != "PROMO_SHARD_BY" || v[1].Value != "first" {
			t.Errorf("%s has the variables %+v", name, v)
		}
	}
}

// TestRouterRoutes checks that the router in a cluster sends ids to their groups under
// both rules.
func TestRouterRoutes(t *testing.T) {
	needs(t, "haproxy")
	for _, rule := range []format.ShardRule{format.ShardLast, format.ShardFirst} {
		dir := t.TempDir()
		live := idOf(t, build(t, dir, 0, minRows, "--shards", "16", "--shard-by", rule.String()))
		for name, digits := range groups {
			t.Run(name+" groups by the "+rule.String()+" digit", func(t *testing.T) {
				address := freeAddress(t)
				pairs := []string{"bind :8080", "bind " + address}
				generations := make([][]string, len(digits))
				for i, d := range digits {
					s := serve(t, dir, "--digits", d)
					waitLive(t, s.url, live)
					pairs = append(pairs, podsOf(d), "server pod "+s.address())
					generations[i] = []string{live}
				}
				path := filepath.Join(t.TempDir(), "haproxy.cfg")
				text := strings.NewReplacer(pairs...).Replace(readFile(t, routerFile(name)))
				if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
				start(t, "env", "PROMO_SHARD_BY="+rule.String(), "haproxy", "-db", "-f", path)
				url := "http://" + address
				groups := parseDigits(t, digits...)
				waitGroups(t, url, groups, rule, generations...)
				wantSpellings(t, url, groups, rule, 50)
				wantUnknown(t, url, live)
				wantLookups(t, url, groups, rule)
				wantHidden(t, address, "/promotions")
			})
		}
	}
}

// TestGroupsRun runs the containers of two groups of servers and of the router, with
// the restrictions of the manifests. A generation arrives, and then a pod stops and a
// second generation arrives, while clients ask the router; no request fails. Pods of
// a group have only their shards.
func TestGroupsRun(t *testing.T) {
	list := objects(t, rendered(t, "groups/two", ""))
	c := newCluster(t)
	c.removeVolumes(t, list)
	updater, router := find(t, list, "StatefulSet", "promo-updater"), find(t, list, "Deployment", "promo-router")
	uploads, api := freeAddress(t), freeAddress(t)
	ids := []string{
		c.start(t, router, "haproxy", "--publish", api+":8080", "--stop-signal", "SIGUSR1"), // of the official image
		c.start(t, updater, "updater", "--publish", uploads+":1322"),
		c.start(t, updater, "rsync", "--network-alias", "rsync"),
	}
	url := "http://" + api
	waitFor(t, "the router responds", func() bool { _, err := get(url + "/healthz"); return err == nil })
	if a, err := get(url + "/healthz"); err != nil || a.status != http.StatusServiceUnavailable {
		t.Errorf("a router without servers: %d, %v", a.status, err)
	}
	servers := map[string]string{} // by digits
	var second string              // another server of the first group
	for i, digits := range groups["two"] {
		w := find(t, list, "Deployment", "promo-api-"+digits)
		start := func() (container, address string) {
			address = freeAddress(t)
			return c.start(t, w, "api", "--publish", address+":1321", "--network-alias", w.Metadata.Name+".promostore.svc.cluster.local"), "http://" + address
		}
		ids = append(ids, c.start(t, w, "pull", "--env", "RSYNC_PASSWORD=secret"))
		container, address := start()
		ids, servers[digits] = append(ids, container), address
		if i == 0 {
			second, _ = start()
		}
	}
	waitFor(t, "the updater is ready", func() bool {
		a, err := get("http://" + uploads + "/readyz")
		return err == nil && a.status == http.StatusOK
	})
	var all dataSets
	publish := func(seed uint64) {
		t.Helper()
		g := upload(t, "http://"+uploads, "token", seed)
		all.add(g, seed)
		for i := range uint64(32) { // ids of both groups
			waitFor(t, fmt.Sprintf("the router serves %s", g), func() bool {
				a, err := get(url + "/promotions/" + keys(seed).At(i).String())
				return err == nil && a.status == http.StatusOK && a.generation == g
			})
		}
	}
	publish(0)
	stop := all.ask(t, url)
	c.stop(t, second)
	publish(1)
	stop()

	for i := range uint64(32) {
		key := keys(1).At(i)
		for digits, server := range servers {
			want := http.StatusMisdirectedRequest
			if strings.Contains(expand(digits), key.String()[35:]) {
				want = http.StatusOK
			}
			if a, err := get(server + "/promotions/" + key.String()); err != nil || a.status != want {
				t.Errorf("%s from the servers of %s: %d %s, %v; want %d", key, digits, a.status, a.body, err, want)
			}
		}
	}
	for digits := range servers {
		dir := strings.TrimSpace(run(t, "docker", "volume", "inspect", "--format", "{{.Mountpoint}}", c.volume(find(t, list, "Deployment", "promo-api-"+digits))))
		if files, err := filepath.Glob(filepath.Join(dir, "*.pgen")); err != nil || len(files) != 2*8 {
			t.Errorf("pods of %s have %q, %v; want 8 shards of 2 generations", digits, files, err)
		}
	}
	slices.Reverse(ids)
	c.stop(t, ids...)
}

// expand returns all digits of a range.
func expand(digits string) string {
	const all = "0123456789abcdef"
	return all[strings.IndexByte(all, digits[0]) : 1+strings.IndexByte(all, digits[2])]
}
