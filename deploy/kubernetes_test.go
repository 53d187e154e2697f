package deploy

import (
	"encoding/json"
	"errors"
	"io"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"gopkg.in/yaml.v3"

	"promostore/internal/progtest"
)

const serverFile = "kubernetes/api/api.yaml"

// An object is a Kubernetes object, with the fields that the tests read.
type object struct {
	Kind     string
	Metadata struct {
		Name, Namespace string
		Labels          map[string]string
	}
	Spec spec
}

// A spec is the specification of an object, with fields of all kinds.
type spec struct {
	Selector  map[string]any // labels of a Service; {matchLabels: labels} of other kinds
	ClusterIP string
	Ports     []struct {
		Port       int
		TargetPort string
	}
	Template struct {
		Metadata struct{ Labels, Annotations map[string]string }
		Spec     pod
	}
	VolumeClaimTemplates []struct{ Metadata struct{ Name string } }

	MinReplicas, MaxReplicas int
	ScaleTargetRef           struct{ Kind, Name string }
	Metrics                  []struct {
		Pods *struct {
			Metric struct{ Name string }
		}
		ContainerResource *struct{ Name, Container string }
	}
	MaxUnavailable int

	Endpoints []struct { // of a PodMonitor
		Port, Path  string
		Relabelings []struct{ TargetLabel, Replacement string }
	} `json:"podMetricsEndpoints"`
	Groups []struct{ Rules []rule } // of a PrometheusRule

	PodSelector     map[string]any
	Ingress, Egress []struct{ Ports []struct{ Port any } } // a number or a name
}

// allows reports whether a NetworkPolicy allows connections to a port.
func (s *spec) allows(port string) bool {
	for _, in := range s.Ingress {
		for _, p := range in.Ports {
			if p.Port == port {
				return true
			}
		}
	}
	return false
}

type pod struct {
	AutomountServiceAccountToken  *bool
	TerminationGracePeriodSeconds int
	SecurityContext               struct {
		RunAsNonRoot          bool
		RunAsUser, RunAsGroup int
		SeccompProfile        struct{ Type string }
	}
	TopologySpreadConstraints  []struct{ TopologyKey string }
	InitContainers, Containers []container
	Volumes                    []map[string]any
}

type container struct {
	Name, Image string
	Command     []string
	Env         []envVar
	Ports       []struct {
		Name          string
		ContainerPort int
	}
	StartupProbe, ReadinessProbe, LivenessProbe *probe
	Lifecycle                                   struct {
		PreStop struct{ Sleep struct{ Seconds int } }
	}
	SecurityContext struct {
		AllowPrivilegeEscalation *bool
		ReadOnlyRootFilesystem   bool
		Capabilities             struct{ Drop []string }
	}
	Resources    struct{ Requests, Limits map[string]string }
	VolumeMounts []struct {
		Name, MountPath string
		ReadOnly        bool
	}
}

// An envVar is a variable of the environment of a container.
type envVar struct {
	Name, Value string
	ValueFrom   struct{ FieldRef struct{ FieldPath string } }
}

type probe struct {
	HTTPGet *struct{ Path, Port string }
}

// objects returns the objects of a YAML stream.
func objects(t *testing.T, text string) (list []object) {
	t.Helper()
	for d := yaml.NewDecoder(strings.NewReader(text)); ; {
		var v any
		if err := d.Decode(&v); errors.Is(err, io.EOF) {
			return list
		} else if err != nil {
			t.Fatal(err)
		}
		b, err := json.Marshal(v) // encoding/json ignores the case of names
		if err != nil {
			t.Fatal(err)
		}
		var o object
		if err := json.Unmarshal(b, &o); err != nil {
			t.Fatal(err)
		}
		list = append(list, o)
	}
}

// manifests returns the objects of the kustomization, before any transformation.
func manifests(t *testing.T) []object {
	t.Helper()
	return manifestsOf(t, "kubernetes")
}

// manifestsOf returns the objects of the kustomization in a directory.
func manifestsOf(t *testing.T, dir string) (list []object) {
	t.Helper()
	var k struct{ Resources []string }
	if err := yaml.Unmarshal([]byte(readFile(t, filepath.Join(dir, "kustomization.yaml"))), &k); err != nil {
		t.Fatal(err)
	}
	for _, name := range k.Resources {
		if path := filepath.Join(dir, name); filepath.Ext(path) == "" {
			list = append(list, manifestsOf(t, path)...)
		} else {
			list = append(list, objects(t, readFile(t, path))...)
		}
	}
	return list
}

// find returns the object of a kind with a name.
func find(t *testing.T, list []object, kind, name string) *object {
	t.Helper()
	i := slices.IndexFunc(list, func(o object) bool { return o.Kind == kind && o.Metadata.Name == name })
	if i < 0 {
		t.Fatalf("there is no %s %s", kind, name)
	}
	return &list[i]
}

// workloads returns the objects that have a pod template.
func workloads(list []object) (pods []*object) {
	for i := range list {
		if len(list[i].Spec.Template.Spec.Containers) > 0 {
			pods = append(pods, &list[i])
		}
	}
	return pods
}

func (p *pod) all() []container { return slices.Concat(p.InitContainers, p.Containers) }

// port returns the number of a named port, or 0.
func (p *pod) port(name string) int {
	for _, c := range p.all() {
		for _, port := range c.Ports {
			if port.Name == name {
				return port.ContainerPort
			}
		}
	}
	return 0
}

// ours returns the help text and the observation of the program that the container
// runs, and whether the program is one of ours.
func (c *container) ours(t *testing.T, p *progtest.Programs) (help progtest.Help, o progtest.Observation, ok bool) {
	switch {
	case c.Command[0] == "/promoserve":
		return p.Help(t, "promoserve"), p.Server, true
	case c.Command[0] == "/promobuild" && c.Command[1] == "updater":
		return p.Help(t, "promobuild updater"), p.Updater, true
	}
	return "", progtest.Observation{}, false
}

// TestPods checks the pods of an unsharded installation.
func TestPods(t *testing.T) {
	list := manifests(t)
	checkPods(t, slices.Concat(list, manifestsOf(t, "kubernetes/monitoring")), 2)
	for _, o := range workloads(list) {
		a := o.Spec.Template.Metadata.Annotations
		if port := strconv.Itoa(o.Spec.Template.Spec.port("http")); a["prometheus.io/path"] != "/prometheus" || a["prometheus.io/port"] != port {
			t.Errorf("%s is scraped at %q", o.Metadata.Name, a)
		}
	}
}

// checkPods checks that flags, variables, probes, monitors and periods of pods match
// the programs. want is the number of containers that run our programs.
func checkPods(t *testing.T, list []object, want int) {
	t.Helper()
	p := progtest.Observe(t)
	checked := 0
	for _, o := range workloads(list) {
		pod := &o.Spec.Template.Spec
		for _, c := range pod.all() {
			help, program, ok := c.ours(t, p)
			if !ok {
				continue
			}
			checked++
			for _, f := range flagName.FindAllString(strings.Join(c.Command, " "), -1) {
				if !help.HasFlag(f) {
					t.Errorf("%s has no flag %s", c.Command[0], f)
				}
			}
			for _, v := range c.Env {
				if !strings.Contains(string(help), "[$"+v.Name+"]") {
					t.Errorf("%s does not read the variable %s", c.Command[0], v.Name)
				}
			}
			port := pod.port("http")
			if m := listenDefault.FindStringSubmatch(string(help)); m == nil || m[1] != strconv.Itoa(port) {
				t.Errorf("%s does not listen on %d", c.Command[0], port)
			}
			for kind, probe := range map[string]*probe{"startup": c.StartupProbe, "readiness": c.ReadinessProbe, "liveness": c.LivenessProbe} {
				if probe == nil || probe.HTTPGet == nil || probe.HTTPGet.Port != "http" {
					t.Errorf("%s has no %s probe by HTTP", c.Name, kind)
					continue
				}
				path := "/healthz" // a pod is not restarted because it is not ready
				if kind == "readiness" {
					path = "/readyz"
				}
				if probe.HTTPGet.Path != path || !program.Allows("GET", path) {
					t.Errorf("the %s probe of %s asks for %s", kind, c.Name, probe.HTTPGet.Path)
				}
			}
			monitor := selecting(t, list, "PodMonitor", o).Spec
			if e := monitor.Endpoints; len(e) != 1 || e[0].Port != "http" || !program.Allows("GET", e[0].Path) ||
				len(e[0].Relabelings) != 1 || e[0].Relabelings[0].TargetLabel != "job" || "/"+e[0].Relabelings[0].Replacement != c.Command[0] {
				t.Errorf("%s is monitored at %+v", o.Metadata.Name, e)
			}
			need := time.Duration(c.Lifecycle.PreStop.Sleep.Seconds)*time.Second + drainOf(t, c.Command, help) + inFlight(filepath.Base(c.Command[0]))
			if grace := time.Duration(pod.TerminationGracePeriodSeconds) * time.Second; grace <= need {
				t.Errorf("%s has %v to stop, but may need %v", o.Metadata.Name, grace, need)
			}
		}
	}
	if checked != want {
		t.Errorf("%d containers run our programs, want %d", checked, want)
	}
	for _, o := range workloads(list) {
		if o.Kind != "Deployment" {
			continue
		}
		pod := &o.Spec.Template.Spec
		if pod.Containers[0].Lifecycle.PreStop.Sleep.Seconds < 5 {
			t.Errorf("a pod of %s stops before all nodes have removed it from its endpoints", o.Metadata.Name)
		}
		if list := pod.TopologySpreadConstraints; len(list) == 0 || list[0].TopologyKey != "topology.kubernetes.io/zone" {
			t.Errorf("%s is not spread over zones", o.Metadata.Name)
		}
	}
}

// inFlight returns how long a program waits for running requests after --drain.
func inFlight(program string) time.Duration {
	if program == "promoserve" {
		return 30 * time.Second
	}
	return 0
}

var (
	drainDefault  = regexp.MustCompile(`--drain [A-Z]+ .*\(default: (\w+)\)`)
	listenDefault = regexp.MustCompile(`--listen [A-Z]+ .*\(default: "?:(\d+)`)
)

// drainOf returns the value of --drain in a command, or its default.
func drainOf(t *testing.T, command []string, help progtest.Help) time.Duration {
	t.Helper()
	text := ""
	if i := slices.Index(command, "--drain"); i > 0 {
		text = command[i+1]
	} else if m := drainDefault.FindStringSubmatch(string(help)); m != nil {
		text = m[1]
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("--drain of %q: %v", command, err)
	}
	return d
}

func TestPodsConfined(t *testing.T) { checkConfined(t, manifests(t)) }

// checkConfined checks that pods meet the restricted profile of the Pod Security
// Standards, and have a read-only root directory and volumes that support mmap.
func checkConfined(t *testing.T, list []object) {
	t.Helper()
	for _, o := range workloads(list) {
		pod := &o.Spec.Template.Spec
		if s := pod.SecurityContext; !s.RunAsNonRoot || s.SeccompProfile.Type != "RuntimeDefault" || pod.AutomountServiceAccountToken == nil || *pod.AutomountServiceAccountToken {
			t.Errorf("%s may do too much: %+v", o.Metadata.Name, pod.SecurityContext)
		}
		room, written := map[string]string{}, 0
		for _, v := range pod.Volumes {
			for kind, source := range v {
				switch kind {
				case "name", "secret", "configMap":
				case "emptyDir":
					dir := source.(map[string]any)
					if v["name"] == "data" && dir["medium"] != nil {
						t.Errorf("the files of %s are in memory", o.Metadata.Name)
					}
					room[v["name"].(string)], _ = dir["sizeLimit"].(string)
				default:
					t.Errorf("%s has a volume of kind %s", o.Metadata.Name, kind)
				}
			}
		}
		for _, claim := range o.Spec.VolumeClaimTemplates {
			room[claim.Metadata.Name] = "claimed"
		}
		for _, c := range pod.all() {
			if s := c.SecurityContext; s.AllowPrivilegeEscalation == nil || *s.AllowPrivilegeEscalation || !s.ReadOnlyRootFilesystem || !slices.Equal(s.Capabilities.Drop, []string{"ALL"}) {
				t.Errorf("%s of %s may do too much: %+v", c.Name, o.Metadata.Name, s)
			}
			if r := c.Resources.Requests; r["cpu"] == "" || r["memory"] == "" {
				t.Errorf("%s of %s requests %v", c.Name, o.Metadata.Name, r)
			}
			for _, m := range c.VolumeMounts {
				if m.Name != "data" || m.ReadOnly {
					continue
				}
				written++
				if size := room["data"]; size == "" || size != "claimed" && size != c.Resources.Requests["ephemeral-storage"] {
					t.Errorf("%s of %s writes to a volume of %q and requests %q", c.Name, o.Metadata.Name, size, c.Resources.Requests["ephemeral-storage"])
				}
			}
		}
		if (written == 1) != (room["data"] != "") {
			t.Errorf("%d containers of %s write to the volume", written, o.Metadata.Name)
		}
	}
}

var adapterRule = regexp.MustCompile(`(?s)seriesQuery: (\w+)\{.*name: \{as: (\w+)\}`)

func TestScaling(t *testing.T) { checkScaling(t, manifests(t), "promo-api") }

// checkScaling checks that the autoscaler of servers uses existing metrics, and that
// evictions leave enough pods.
func checkScaling(t *testing.T, list []object, name string) {
	t.Helper()
	hpa := find(t, list, "HorizontalPodAutoscaler", name).Spec
	target := find(t, list, hpa.ScaleTargetRef.Kind, hpa.ScaleTargetRef.Name)
	rule := adapterRule.FindStringSubmatch(readFile(t, scalerFile))
	if rule == nil {
		t.Fatal("the rule of the adapter is missing")
	}
	if !slices.ContainsFunc(progtest.Observe(t).Server.Metrics, func(f progtest.Family) bool { return f.Name == rule[1] && f.Kind == "counter" }) {
		t.Errorf("the server has no counter %s", rule[1])
	}
	if len(hpa.Metrics) != 2 || hpa.Metrics[0].Pods == nil || hpa.Metrics[1].ContainerResource == nil {
		t.Fatalf("the metrics are %+v, want requests and the processor", hpa.Metrics)
	}
	if name := hpa.Metrics[0].Pods.Metric.Name; name != rule[2] {
		t.Errorf("the autoscaler uses %s, but the adapter provides %s", name, rule[2])
	}
	checkEvictions(t, list, name)
	r := hpa.Metrics[1].ContainerResource
	i := slices.IndexFunc(target.Spec.Template.Spec.Containers, func(c container) bool { return c.Name == r.Container })
	if i < 0 || target.Spec.Template.Spec.Containers[i].Resources.Requests[r.Name] == "" {
		t.Errorf("%s has no container %s that requests %s", target.Metadata.Name, r.Container, r.Name)
	}
}

// checkEvictions checks that evictions leave a pod of an autoscaler's target.
func checkEvictions(t *testing.T, list []object, name string) {
	t.Helper()
	hpa, budget := find(t, list, "HorizontalPodAutoscaler", name).Spec, find(t, list, "PodDisruptionBudget", name).Spec
	if budget.MaxUnavailable < 1 || budget.MaxUnavailable >= hpa.MinReplicas || hpa.MaxReplicas < hpa.MinReplicas {
		t.Errorf("%d of %d to %d pods may be evicted", budget.MaxUnavailable, hpa.MinReplicas, hpa.MaxReplicas)
	}
	wantLabels(t, "the budget", budget.Selector["matchLabels"], find(t, list, hpa.ScaleTargetRef.Kind, hpa.ScaleTargetRef.Name))
}

// wantLabels checks that a selector selects a workload.
func wantLabels(t *testing.T, name string, selector any, o *object) {
	t.Helper()
	if labels, _ := selector.(map[string]any); !selects(labels, o) {
		t.Errorf("%s selects %v, not %s", name, selector, o.Metadata.Name)
	}
}

// selecting returns the only PodMonitor or NetworkPolicy that selects the pods of a
// workload by labels.
func selecting(t *testing.T, list []object, kind string, w *object) (found *object) {
	t.Helper()
	for i, o := range list {
		selector := o.Spec.PodSelector
		if kind == "PodMonitor" {
			selector = o.Spec.Selector
		}
		labels, _ := selector["matchLabels"].(map[string]any)
		if o.Kind != kind || !selects(labels, w) {
			continue
		}
		if found != nil {
			t.Fatalf("%s selects %s, and so does %s", o.Metadata.Name, w.Metadata.Name, found.Metadata.Name)
		}
		found = &list[i]
	}
	if found == nil {
		t.Fatalf("no %s selects %s", kind, w.Metadata.Name)
	}
	return found
}

// selects reports whether labels, at least one, select the pods of a workload.
func selects(labels map[string]any, o *object) bool {
	for name, value := range labels {
		if o.Spec.Template.Metadata.Labels[name] != value {
			return false
		}
	}
	return len(labels) > 0
}

func TestConnections(t *testing.T) {
	list := manifests(t)
	if n := checkConnections(t, list); n != 3 {
		t.Errorf("%d ports of services, want 3", n)
	}
	if !strings.Contains(readFile(t, serverFile), "rsync://promo@promo-updater/promotions ") {
		t.Error("the API does not pull from the updater's service")
	}
}

// checkConnections checks that services and policies name existing pods and ports,
// and returns the number of ports of services.
func checkConnections(t *testing.T, list []object) (ports int) {
	t.Helper()
	pods := workloads(list)
	for _, w := range pods {
		pod := &w.Spec.Template.Spec
		policy := selecting(t, list, "NetworkPolicy", w).Spec
		wantLabels(t, "the selector of the workload", w.Spec.Selector["matchLabels"], w)
		for _, in := range policy.Ingress {
			for _, p := range in.Ports {
				if port, _ := p.Port.(string); pod.port(port) == 0 {
					t.Errorf("%s has no port %v", w.Metadata.Name, p.Port)
				}
			}
		}
	}
	for _, service := range list {
		if service.Kind != "Service" {
			continue
		}
		selected := slices.DeleteFunc(slices.Clone(pods), func(w *object) bool { return !selects(service.Spec.Selector, w) })
		if len(selected) != 1 {
			t.Errorf("the service %s selects %d workloads", service.Metadata.Name, len(selected))
			continue
		}
		policy := selecting(t, list, "NetworkPolicy", selected[0]).Spec
		for _, p := range service.Spec.Ports {
			ports++
			port := selected[0].Spec.Template.Spec.port(p.TargetPort)
			if port == 0 || !policy.allows(p.TargetPort) {
				t.Errorf("port %q of the service %s does not exist, or the policy forbids it", p.TargetPort, service.Metadata.Name)
			}
			if service.Spec.ClusterIP == "None" && p.Port != port {
				t.Errorf("port %d of the service %s is %d in the pods", p.Port, service.Metadata.Name, port)
			}
		}
	}
	updater := find(t, list, "StatefulSet", "promo-updater").Spec.Template.Spec
	if port, _ := find(t, list, "NetworkPolicy", "promo-api").Spec.Egress[0].Ports[0].Port.(string); updater.port(port) == 0 {
		t.Errorf("the API may connect to port %q, which the updater does not have", port)
	}
	return ports
}
