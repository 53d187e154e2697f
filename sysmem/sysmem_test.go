package sysmem

import (
	"math"
	"testing"
	"testing/fstest"
)

func TestCgroupLimit(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  int64
	}{
		"no cgroups": {nil, unlimited},
		"version 2": {map[string]string{
			"proc/self/cgroup":                           "0::/a.slice/b.service\n",
			"sys/fs/cgroup/a.slice/b.service/memory.max": "4096\n",
			"sys/fs/cgroup/a.slice/memory.max":           "8192\n",
		}, 4096},
		"the group above is tighter": {map[string]string{
			"proc/self/cgroup":                           "0::/a.slice/b.service\n",
			"sys/fs/cgroup/a.slice/b.service/memory.max": "max\n",
			"sys/fs/cgroup/a.slice/memory.max":           "8192\n",
		}, 8192},
		"version 2 in a container": {map[string]string{
			"proc/self/cgroup":         "0::/\n",
			"sys/fs/cgroup/memory.max": "4096\n",
		}, 4096},
		"a soft limit": {map[string]string{
			"proc/self/cgroup":          "0::/\n",
			"sys/fs/cgroup/memory.max":  "8192\n",
			"sys/fs/cgroup/memory.high": "4096\n",
		}, 4096},
		"version 2 without a limit": {map[string]string{
			"proc/self/cgroup":         "0::/\n",
			"sys/fs/cgroup/memory.max": "max\n",
		}, unlimited},
		"version 1": {map[string]string{
			"proc/self/cgroup": "5:cpu,cpuacct:/x\n4:memory:/docker/1\n0::/\n",
			"sys/fs/cgroup/memory/docker/1/memory.limit_in_bytes": "4096\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes":          "9223372036854771712\n",
		}, 4096},
		"version 1 in a container": {map[string]string{
			"proc/self/cgroup":                           "4:memory:/docker/1\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes": "4096\n",
		}, 4096},
		"more than an int64": {map[string]string{
			"proc/self/cgroup":         "0::/\n",
			"sys/fs/cgroup/memory.max": "99999999999999999999\n",
		}, math.MaxInt64},
		"not numbers": {map[string]string{
			"proc/self/cgroup":         "nonsense\n0::/\n",
			"sys/fs/cgroup/memory.max": "many\n",
		}, unlimited},
		"a path that leads out": {map[string]string{
			"proc/self/cgroup":         "0::/../../x\n",
			"sys/fs/cgroup/memory.max": "4096\n",
		}, 4096},
	} {
		root := fstest.MapFS{}
		for path, text := range c.files {
			root[path] = &fstest.MapFile{Data: []byte(text)}
		}
		if got := cgroupLimit(root); got != c.want {
			t.Errorf("%s: %d bytes, want %d", name, got, c.want)
		}
	}
}

func TestTotal(t *testing.T) {
	if n := Total(); n < 1<<20 || n == unlimited {
		t.Errorf("this machine has %d bytes", n)
	}
}
