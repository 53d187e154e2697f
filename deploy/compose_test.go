package deploy

import (
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"
)

const (
	composeFile     = "../compose.yaml"
	datasourcesFile = "grafana/provisioning/datasources/prometheus.yaml"
	providersFile   = "grafana/provisioning/dashboards/promotions.yaml"
)

// A service is a service of compose.yaml, with the keys that the tests read.
type service struct {
	Image          string
	Build          any
	DependsOn      []string `yaml:"depends_on"`
	Ports, Volumes []string
}

func services(t *testing.T) map[string]service {
	t.Helper()
	var file struct{ Services map[string]service }
	readYAML(t, composeFile, &file)
	if len(file.Services) == 0 {
		t.Fatalf("%s has no services", composeFile)
	}
	return file.Services
}

func readYAML(t *testing.T, path string, v any) {
	t.Helper()
	if err := yaml.Unmarshal([]byte(readFile(t, path)), v); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}

// TestComposeBuildsOnce checks that a single service builds each image and that
// the others depend on it. Compose runs all builds at the same time, and all but one
// build of the same image fail.
func TestComposeBuildsOnce(t *testing.T) {
	builders := map[string]string{}
	for name, s := range services(t) {
		if s.Build == nil {
			continue
		}
		if other, ok := builders[s.Image]; ok {
			t.Errorf("both %s and %s build %s", name, other, s.Image)
		}
		builders[s.Image] = name
	}
	if len(builders) == 0 {
		t.Errorf("%s builds nothing", composeFile)
	}
	for name, s := range services(t) {
		if builder, ok := builders[s.Image]; ok && builder != name && !slices.Contains(s.DependsOn, builder) {
			t.Errorf("%s uses the image that %s builds, but does not depend on it", name, builder)
		}
	}
}

// TestComposeListensOnLoopback checks that ports without authentication are
// published on loopback only.
func TestComposeListensOnLoopback(t *testing.T) {
	for name, s := range services(t) {
		for _, port := range s.Ports {
			if _, value, ok := strings.Cut(port, ":-"); ok { // ${NAME:-value}
				port = strings.Replace(value, "}", "", 1)
			}
			if !strings.HasPrefix(port, "127.0.0.1:") {
				t.Errorf("%s publishes %s", name, port)
			}
		}
	}
}

// TestComposeProvisions checks that Prometheus scrapes existing services, and that
// Grafana has Prometheus as its data source and finds the dashboard.
func TestComposeProvisions(t *testing.T) {
	all := services(t)
	listens := func(name, address string) {
		t.Helper()
		host, port, _ := strings.Cut(address, ":")
		if !slices.ContainsFunc(all[host].Ports, func(p string) bool { return strings.HasSuffix(p, ":"+port) }) {
			t.Errorf("%s is %s, but no service of %s listens there", name, address, composeFile)
		}
	}
	var scrapes struct {
		Configs []struct {
			Static []struct{ Targets []string } `yaml:"static_configs"`
		} `yaml:"scrape_configs"`
	}
	readYAML(t, scrapeFile, &scrapes)
	for _, c := range scrapes.Configs {
		for _, s := range c.Static {
			for _, target := range s.Targets {
				listens("a target", target)
			}
		}
	}

	var sources struct {
		Datasources []struct{ UID, Type, URL string }
	}
	readYAML(t, datasourcesFile, &sources)
	if len(sources.Datasources) != 1 || sources.Datasources[0].Type != "prometheus" {
		t.Fatalf("%s has %+v", datasourcesFile, sources.Datasources)
	}
	source := sources.Datasources[0]
	u, err := url.Parse(source.URL)
	if err != nil {
		t.Fatal(err)
	}
	listens("the data source", u.Host)
	mounts := map[string]string{} // directory by its path in the container
	for name, s := range all {
		for _, volume := range s.Volumes {
			parts := strings.Split(volume, ":")
			if !strings.HasPrefix(parts[0], "./") {
				continue
			}
			dir := filepath.Join(filepath.Dir(composeFile), parts[0])
			if entries, err := os.ReadDir(dir); err != nil || len(entries) == 0 {
				t.Errorf("%s mounts %s: %v", name, dir, err)
			}
			mounts[parts[1]] = dir
		}
	}
	var providers struct {
		Providers []struct{ Options struct{ Path string } }
	}
	readYAML(t, providersFile, &providers)
	if len(providers.Providers) != 1 || mounts[providers.Providers[0].Options.Path] != filepath.Join("../deploy", filepath.Dir(dashboardFile)) {
		t.Errorf("%s has %+v, mounted are %v", providersFile, providers.Providers, mounts)
	}
	for path, dir := range map[string]string{
		"/etc/prometheus":           filepath.Dir(scrapeFile),
		"/etc/grafana/provisioning": filepath.Dir(filepath.Dir(datasourcesFile)),
	} {
		if want := filepath.Join("../deploy", dir); mounts[path] != want {
			t.Errorf("%s is %q, want %s", path, mounts[path], want)
		}
	}
}
