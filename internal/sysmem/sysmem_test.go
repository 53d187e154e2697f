package sysmem

import (
	"fmt"
	"math"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"testing"
	"testing/fstest"
)

func TestCgroupLimitIsTheLowest(t *testing.T) {
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
		"lower limit above": {map[string]string{
			"proc/self/cgroup":                           "0::/a.slice/b.service\n",
			"sys/fs/cgroup/a.slice/b.service/memory.max": "max\n",
			"sys/fs/cgroup/a.slice/memory.max":           "8192\n",
		}, 8192},
		"version 2 in a container": {map[string]string{
			"proc/self/cgroup":         "0::/\n",
			"sys/fs/cgroup/memory.max": "4096\n",
		}, 4096},
		"memory.high": {map[string]string{
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
		"path out of the container": {map[string]string{
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

const meminfo = `MemTotal:       24684096 kB
MemFree:        20000000 kB
MemAvailable:   24350360 kB
Buffers:             916 kB
HugePages_Total:       0
`

func TestAvailableIsWithinTheLimit(t *testing.T) {
	const free = 24350360 << 10
	for _, c := range []struct {
		name  string
		files map[string]string
		want  int64
	}{
		{"no files", nil, math.MaxInt64},
		{"no control groups", map[string]string{"proc/meminfo": meminfo}, free},
		{"no MemAvailable", map[string]string{"proc/meminfo": "MemTotal: 1 kB\n"}, math.MaxInt64},
		{"damaged", map[string]string{
			"proc/meminfo":               "MemAvailable: many kB\nMemAvailable:\n",
			"proc/self/cgroup":           "0::/\nrubbish\n:\n::\n",
			"sys/fs/cgroup/memory.max":   "",
			"sys/fs/cgroup/memory.high":  "-1\n",
			"sys/fs/cgroup/memory.limit": "7",
		}, math.MaxInt64},
		{"version 2, own group", map[string]string{
			"proc/meminfo":                                         meminfo,
			"proc/self/cgroup":                                     "0::/system.slice/promo.service\n",
			"sys/fs/cgroup/system.slice/memory.max":                "max\n",
			"sys/fs/cgroup/system.slice/promo.service/memory.max":  "4294967296\n",
			"sys/fs/cgroup/system.slice/promo.service/memory.high": "max\n",
		}, 4 << 30},
		{"version 2, group above", map[string]string{
			"proc/meminfo":                                        meminfo,
			"proc/self/cgroup":                                    "0::/system.slice/promo.service\n",
			"sys/fs/cgroup/system.slice/memory.max":               "1073741824\n",
			"sys/fs/cgroup/system.slice/promo.service/memory.max": "4294967296\n",
		}, 1 << 30},
		{"version 2, memory.high", map[string]string{
			"proc/meminfo":              meminfo,
			"proc/self/cgroup":          "0::/\n",
			"sys/fs/cgroup/memory.max":  "4294967296\n",
			"sys/fs/cgroup/memory.high": "2147483648\n",
		}, 2 << 30},
		{"version 2, path out of the container", map[string]string{
			"proc/meminfo":             meminfo,
			"proc/self/cgroup":         "0::/../../kubepods/pod1\n",
			"sys/fs/cgroup/memory.max": "536870912\n",
		}, 512 << 20},
		{"version 1", map[string]string{
			"proc/meminfo":     meminfo,
			"proc/self/cgroup": "9:name=systemd:/\n4:cpu,memory:/docker/06c0\n1:cpu:/\n0::/\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes":             "9223372036854771712\n",
			"sys/fs/cgroup/memory/docker/06c0/memory.limit_in_bytes": "268435456\n",
		}, 256 << 20},
		{"version 1, path out of the container", map[string]string{
			"proc/meminfo":     meminfo,
			"proc/self/cgroup": "4:memory:/docker/06c0\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes": "268435456\n",
		}, 256 << 20},
		{"limit above the machine", map[string]string{
			"proc/meminfo":             meminfo,
			"proc/self/cgroup":         "0::/\n",
			"sys/fs/cgroup/memory.max": "1099511627776\n",
		}, free},
	} {
		root := fstest.MapFS{}
		for name, text := range c.files {
			root[name] = &fstest.MapFile{Data: []byte(text)}
		}
		if got := available(root); got != c.want {
			t.Errorf("%s: %d bytes, want %d", c.name, got, c.want)
		}
	}
}

// The peak of a child does not include that of its parent.
func TestPeakOfChildExcludesParent(t *testing.T) {
	const size = 256 << 20
	if os.Getenv("PROMO_TEST_PEAK") != "" {
		fmt.Print(Peak())
		os.Exit(0)
	}
	before := Peak()
	fat := make([]byte, size)
	for i := 0; i < len(fat); i += 4096 {
		fat[i] = 1
	}
	after := Peak()
	if before <= 0 || after < size {
		t.Errorf("the peak is %d bytes, and %d after an allocation of %d", before, after, size)
	}
	child := exec.Command(os.Args[0], "-test.run", "^TestPeakOfChildExcludesParent$")
	child.Env = append(os.Environ(), "PROMO_TEST_PEAK=1")
	out, err := child.Output()
	if err != nil {
		t.Fatal(err)
	}
	runtime.KeepAlive(fat)
	peak, err := strconv.ParseInt(string(out), 10, 64)
	if err != nil || peak <= 0 || peak >= size {
		t.Errorf("child: %q, %v", out, err)
	}
}
