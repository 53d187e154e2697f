//go:build system

package deploy

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// A controlPlane is a real API server of Kubernetes with the controllers of Jobs, and
// one node, on which the containers of pods run as processes of this machine.
type controlPlane struct {
	url      string
	client   *http.Client
	node     *httptest.Server // serves the logs to the API server
	fail     func(*podObject) (exit int, disrupted bool)
	programs string // directory of promobuild
	dir      string // of the volumes

	mu   sync.Mutex
	pods map[string]*podProcess // by name
	wait sync.WaitGroup
}

// A podObject is a pod, with the fields that the node reads.
type podObject struct {
	Metadata struct {
		Name, Namespace     string
		Annotations, Labels map[string]string
		DeletionTimestamp   string
	}
	Spec struct {
		NodeName   string
		Containers []struct {
			Name    string
			Command []string
			Env     []envVar
			EnvFrom []struct {
				ConfigMapRef, SecretRef struct{ Name string }
			}
		}
	}
	Status struct{ Phase string }
}

// index returns the index of the pod in its Job.
func (p *podObject) index() string {
	return p.Metadata.Annotations["batch.kubernetes.io/job-completion-index"]
}

// A podProcess is the process of a pod.
type podProcess struct {
	log  bytes.Buffer
	stop context.CancelFunc
}

// token is the password of all clients of the API server.
const token = "secret"

// errorsOnly runs a program of Kubernetes and prints only the errors of its log.
const errorsOnly = `exec "$0" "$@" 2> >(grep --line-buffered '^[EF]')`

// startControlPlane starts a controlPlane until the test ends, and lets kubectl use it.
// fail chooses pods that end without running their command.
func startControlPlane(t *testing.T, fail func(*podObject) (exit int, disrupted bool)) *controlPlane {
	t.Helper()
	needs(t, "etcd", "kube-apiserver", "kube-controller-manager", "kubectl", "jq")
	dir := t.TempDir()
	file := func(name, text string) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	store, peer, address := "http://"+freeAddress(t), "http://"+freeAddress(t), freeAddress(t)
	start(t, "etcd", "--data-dir", filepath.Join(dir, "etcd"), "--unsafe-no-fsync", "--listen-client-urls", store, "--advertise-client-urls", store,
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", "default="+peer, "--log-level", "error")
	signer, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	key := file("key", string(pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(signer)})))
	_, port, _ := net.SplitHostPort(address)
	start(t, "bash", "-c", errorsOnly, "kube-apiserver", "--etcd-servers", store, "--bind-address", "127.0.0.1", "--secure-port", port, "--cert-dir", dir,
		"--service-account-issuer", "https://kubernetes", "--service-account-key-file", key, "--service-account-signing-key-file", key,
		"--token-auth-file", file("tokens", token+",admin,1,system:masters\n"), "--authorization-mode", "RBAC",
		"--service-cluster-ip-range", "10.96.0.0/16", "--disable-admission-plugins", "ServiceAccount")

	c := &controlPlane{
		url:    "https://" + address,
		client: &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}, // its certificate is new
		fail:   fail, programs: filepath.Dir(program(t, "promobuild")), dir: t.TempDir(), pods: map[string]*podProcess{},
	}
	config := file("kubeconfig", fmt.Sprintf(`{"apiVersion": "v1", "kind": "Config", "current-context": "test",
		"clusters": [{"name": "test", "cluster": {"server": %q, "insecure-skip-tls-verify": true}}],
		"users": [{"name": "test", "user": {"token": %q}}],
		"contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}]}`, c.url, token))
	t.Setenv("KUBECONFIG", config)
	waitFor(t, "the API server is ready", func() bool { return c.do(http.MethodGet, "/readyz", nil, nil) == nil })
	_, port, _ = net.SplitHostPort(freeAddress(t))
	start(t, "bash", "-c", errorsOnly, "kube-controller-manager", "--kubeconfig", config, "--leader-elect=false", "--bind-address", "127.0.0.1", "--secure-port", port,
		"--cert-dir", dir, "--controllers", "job-controller,pod-garbage-collector-controller,garbage-collector-controller")

	c.node = httptest.NewTLSServer(http.HandlerFunc(c.serveLog))
	t.Cleanup(c.node.Close)
	_, port, _ = net.SplitHostPort(c.node.Listener.Addr().String())
	run(t, "kubectl", "create", "namespace", "promostore")
	c.must(t, http.MethodPost, "/api/v1/nodes", `{"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node"}}`)
	c.must(t, http.MethodPatch, "/api/v1/nodes/node/status", fmt.Sprintf(`{"status": {"addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
		"daemonEndpoints": {"kubeletEndpoint": {"Port": %s}}}}`, port))
	ctx, stop := context.WithCancel(context.Background())
	c.wait.Go(func() { c.runPods(ctx, t) })
	t.Cleanup(func() {
		stop()
		c.wait.Wait()
	})
	return c
}

// errGone reports an object that was deleted or replaced meanwhile.
var errGone = errors.New("gone")

// do sends a JSON object to the API server and decodes the answer.
func (c *controlPlane) do(method, path string, body []byte, answer any) error {
	req, err := http.NewRequest(method, c.url+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	if method == http.MethodPatch {
		req.Header.Set("Content-Type", "application/merge-patch+json")
	}
	resp, err := c.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode >= 300 {
		err = fmt.Errorf("%s %s: %s", method, path, text)
		if resp.StatusCode == http.StatusNotFound || resp.StatusCode == http.StatusConflict {
			err = errors.Join(errGone, err)
		}
	}
	if err == nil && answer != nil {
		err = json.Unmarshal(text, answer)
	}
	return err
}

func (c *controlPlane) must(t *testing.T, method, path, body string) {
	t.Helper()
	if err := c.do(method, path, []byte(body), nil); err != nil {
		t.Fatal(err)
	}
}

// serveLog answers /containerLogs/NAMESPACE/POD/CONTAINER.
func (c *controlPlane) serveLog(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if p := c.pods[path.Base(path.Dir(r.URL.Path))]; p != nil {
		_, _ = w.Write(p.log.Bytes())
	}
}

// runPods runs the pods of the API server until ctx is canceled.
func (c *controlPlane) runPods(ctx context.Context, t *testing.T) {
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		var list struct{ Items []podObject }
		if err := c.do(http.MethodGet, "/api/v1/pods", nil, &list); err != nil && ctx.Err() == nil {
			t.Error(err)
			return
		}
		for _, p := range list.Items {
			c.mu.Lock()
			process := c.pods[p.Metadata.Name]
			if process == nil && p.Metadata.DeletionTimestamp == "" {
				ctx, stop := context.WithCancel(ctx)
				process = &podProcess{stop: stop}
				c.pods[p.Metadata.Name] = process
				c.wait.Go(func() {
					defer stop()
					if err := c.runPod(ctx, &p, process); err != nil && ctx.Err() == nil {
						t.Error(err)
					}
				})
			}
			c.mu.Unlock()
			if p.Metadata.DeletionTimestamp != "" && process != nil {
				process.stop()
				if p.Status.Phase == "Succeeded" || p.Status.Phase == "Failed" {
					_ = c.do(http.MethodDelete, p.url(), []byte(`{"gracePeriodSeconds": 0}`), nil)
				}
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (p *podObject) url() string {
	return "/api/v1/namespaces/" + p.Metadata.Namespace + "/pods/" + p.Metadata.Name
}

// runPod runs the only container of a pod and reports its end.
func (c *controlPlane) runPod(ctx context.Context, p *podObject, process *podProcess) error {
	err := c.do(http.MethodPost, p.url()+"/binding", fmt.Appendf(nil, `{"apiVersion": "v1", "kind": "Binding", "metadata": {"name": %q}, "target": {"kind": "Node", "name": "node"}}`, p.Metadata.Name), nil)
	if err != nil {
		return ignoreGone(err)
	}
	exit, disrupted := c.fail(p)
	if exit == 0 {
		if exit, err = c.execute(ctx, p, process); err != nil {
			return err
		}
	}
	status := map[string]any{
		"phase": "Succeeded",
		"containerStatuses": []any{map[string]any{"name": p.Spec.Containers[0].Name, "image": "promostore", "imageID": "", "ready": false, "restartCount": 0,
			"state": map[string]any{"terminated": map[string]any{"exitCode": exit}}}},
	}
	if exit != 0 {
		status["phase"] = "Failed"
	}
	if disrupted {
		status["conditions"] = []any{map[string]any{"type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI"}}
	}
	body, err := json.Marshal(map[string]any{"status": status})
	if err != nil {
		return err
	}
	return ignoreGone(c.do(http.MethodPatch, p.url()+"/status", body, nil))
}

// ignoreGone returns nil for a pod that was deleted meanwhile.
func ignoreGone(err error) error {
	if errors.Is(err, errGone) {
		return nil
	}
	return err
}

var reference = regexp.MustCompile(`\$\((\w+)\)`)

// execute runs the command of a pod's container, with the environment that Kubernetes
// gives it, and returns the exit code.
func (c *controlPlane) execute(ctx context.Context, p *podObject, process *podProcess) (int, error) {
	container := &p.Spec.Containers[0]
	env := map[string]string{}
	for _, from := range container.EnvFrom {
		var object struct {
			Data map[string]string
		}
		namespace := "/api/v1/namespaces/" + p.Metadata.Namespace
		if name := from.ConfigMapRef.Name; name != "" {
			if err := c.do(http.MethodGet, namespace+"/configmaps/"+name, nil, &object); err != nil {
				return 0, err
			}
			for k, v := range object.Data {
				env[k] = v
			}
		}
		if name := from.SecretRef.Name; name != "" {
			var secret struct{ Data map[string][]byte }
			if err := c.do(http.MethodGet, namespace+"/secrets/"+name, nil, &secret); err != nil {
				return 0, err
			}
			for k, v := range secret.Data {
				env[k] = string(v)
			}
		}
	}
	for _, v := range container.Env {
		if strings.Contains(v.ValueFrom.FieldRef.FieldPath, "job-completion-index") {
			v.Value = p.index()
		}
		env[v.Name] = v.Value
	}
	temp := filepath.Join(c.dir, p.Metadata.Name)
	if err := os.Mkdir(temp, 0o700); err != nil {
		return 0, err
	}
	words := slices.Clone(container.Command)
	for i, w := range words {
		words[i] = reference.ReplaceAllStringFunc(w, func(s string) string { return env[s[2:len(s)-1]] })
		if w == "/data" {
			words[i] = temp
		}
	}
	cmd := exec.CommandContext(ctx, filepath.Join(c.programs, words[0]), words[1:]...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	for k, v := range env {
		cmd.Env = append(cmd.Env, k+"="+v)
	}
	out, err := cmd.CombinedOutput()
	c.mu.Lock()
	process.log.Write(out)
	c.mu.Unlock()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		if code := exit.ExitCode(); code >= 0 {
			return code, nil
		}
		return 128 + int(exit.Sys().(syscall.WaitStatus).Signal()), nil
	}
	return 0, err
}
