package main

import (
	"bytes"
	"context"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"promostore/format"
	"promostore/format/generation"
	"promostore/internal/gentest"
	"promostore/internal/objects"
	"promostore/internal/objecttest"
	"promostore/internal/transfer"
)

// A transferTest pushes generations of a builder to a URL and pulls them to a node.
type transferTest struct {
	url, builder, node string
	loc                transfer.Location
	next               generation.ID
}

// transferTests calls f for a directory and for a bucket.
func transferTests(t *testing.T, f func(*testing.T, *transferTest)) {
	t.Run("directory", func(t *testing.T) { f(t, newTransferTest(t, filepath.Join(t.TempDir(), "store"))) })
	t.Run("S3", func(t *testing.T) {
		objecttest.New(t).Setenv(t)
		f(t, newTransferTest(t, "s3://"+objecttest.Bucket+"/promotions"))
	})
}

func newTransferTest(t *testing.T, url string) *transferTest {
	t.Helper()
	loc, err := transfer.Parse(url, objects.Options{Endpoint: os.Getenv("AWS_ENDPOINT_URL_S3")})
	gentest.Must(t, err)
	return &transferTest{url, t.TempDir(), filepath.Join(t.TempDir(), "node"), loc, 1_795_341_600_000}
}

// build publishes a generation of the builder.
func (x *transferTest) build(t *testing.T) generation.ID {
	t.Helper()
	x.next += 1000
	if x.next%2000 == 0 {
		gentest.Publish(t, x.builder, x.next, gentest.Scattered(20_000))
	} else {
		gentest.PublishSharded(t, x.builder, x.next, format.Sharding{Rule: format.ShardLast, Shards: 16}, gentest.Scattered(20_000))
	}
	return x.next
}

func (x *transferTest) pushCommand() *exec.Cmd {
	return exec.Command("promobuild", "push", "--keep", "2", x.builder, x.url)
}

func (x *transferTest) pullCommand() *exec.Cmd {
	return exec.Command("promobuild", "pull", "--data", x.node, x.url)
}

func complete(t *testing.T, cmd *exec.Cmd) (took time.Duration) {
	t.Helper()
	start := time.Now()
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd.Args, err, out)
	}
	return time.Since(start)
}

// kill starts cmd and kills it at a random time, which is before the end of most
// commands that take took.
func kill(t *testing.T, cmd *exec.Cmd, took time.Duration) (killed bool) {
	t.Helper()
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	gentest.Must(t, cmd.Start())
	time.Sleep(rand.N(took))
	_ = cmd.Process.Kill()
	err := cmd.Wait()
	if err != nil && err.Error() != "signal: killed" {
		t.Fatalf("%v: %v\n%s", cmd.Args, err, &out)
	}
	return err != nil
}

// served returns the generation that a server of dir serves. It checks that each
// file in dir has the bytes of the builder.
func (x *transferTest) served(t *testing.T, dir string) generation.ID {
	t.Helper()
	list, err := generation.List(dir)
	gentest.Must(t, err)
	for _, g := range list {
		for _, path := range g.Files {
			got, err := os.ReadFile(path)
			gentest.Must(t, err)
			want, err := os.ReadFile(filepath.Join(x.builder, filepath.Base(path)))
			gentest.Must(t, err)
			if !bytes.Equal(got, want) {
				t.Fatalf("%s differs from the build", path)
			}
		}
	}
	g, err := generation.Live(context.Background(), dir, func(g generation.Generation) error { return g.Verify(context.Background()) })
	gentest.Must(t, err)
	return g.ID
}

// pulled returns the generation that a new node receives and serves.
func (x *transferTest) pulled(t *testing.T) generation.ID {
	t.Helper()
	dir, err := os.MkdirTemp(t.TempDir(), "node")
	gentest.Must(t, err)
	_, err = x.loc.Pull(context.Background(), dir, transfer.PullOptions{Keep: 1, Digits: generation.AllDigits})
	gentest.Must(t, err)
	id := x.served(t, dir)
	gentest.Must(t, os.RemoveAll(dir))
	return id
}

const kills = 24 / killShare // of pushes and of pulls, half of them for each kind of store

// A killed push leaves the generations that were there; the next push completes.
func TestKilledPushContinues(t *testing.T) {
	transferTests(t, func(t *testing.T, x *transferTest) {
		previous := x.build(t)
		took := complete(t, x.pushCommand())
		seen := map[bool]int{} // the new generation was visible after the kill
		for killed := 0; killed < kills/2; {
			id := x.build(t)
			for range 1 + rand.N(3) {
				if kill(t, x.pushCommand(), took) {
					killed++
				}
				got := x.pulled(t)
				if got != previous && got != id {
					t.Fatalf("after a kill, %s is served, want %s or %s", got, previous, id)
				}
				if seen[got == id]++; got == id {
					break
				}
			}
			took = (took + complete(t, x.pushCommand())) / 2
			if got := x.pulled(t); got != id {
				t.Fatalf("after the next push, %s is served, want %s", got, id)
			}
			previous = id
		}
		t.Logf("%d kills before and %d after the manifest", seen[false], seen[true])
	})
}

// A killed pull leaves the generation that was served; the next pull completes.
func TestKilledPullContinues(t *testing.T) {
	transferTests(t, func(t *testing.T, x *transferTest) {
		previous := x.build(t)
		complete(t, x.pushCommand())
		took := complete(t, x.pullCommand())
		seen := map[bool]int{}
		for killed := 0; killed < kills/2; {
			id := x.build(t)
			complete(t, x.pushCommand())
			for range 1 + rand.N(3) {
				if kill(t, x.pullCommand(), took) {
					killed++
				}
				got := x.served(t, x.node)
				if got != previous && got != id {
					t.Fatalf("after a kill, %s is served, want %s or %s", got, previous, id)
				}
				if seen[got == id]++; got == id {
					break
				}
			}
			took = (took + complete(t, x.pullCommand())) / 2
			if got := x.served(t, x.node); got != id {
				t.Fatalf("after the next pull, %s is served, want %s", got, id)
			}
			left := slices.DeleteFunc(files(t, x.node), func(name string) bool { return strings.HasPrefix(name, "promotions-") })
			if !slices.Equal(left, []string{".pull.lock"}) {
				t.Fatalf("the next pull leaves %v", left)
			}
			previous = id
		}
		t.Logf("%d kills before and %d after the generation was published", seen[false], seen[true])
	})
}
