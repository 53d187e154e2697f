package reader

import (
	"math"
	"testing"
	"testing/fstest"
)

const meminfo = `MemTotal:       24684096 kB
MemFree:        20000000 kB
MemAvailable:   24350360 kB
Buffers:             916 kB
HugePages_Total:       0
`

func TestMemory(t *testing.T) {
	const available = 24350360 << 10
	for _, c := range []struct {
		name  string
		files map[string]string
		want  int64
	}{
		{"nothing known", nil, math.MaxInt64},
		{"no control groups", map[string]string{"proc/meminfo": meminfo}, available},
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
		{"version 2, path of the host", map[string]string{
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
		{"version 1, path of the host", map[string]string{
			"proc/meminfo":     meminfo,
			"proc/self/cgroup": "4:memory:/docker/06c0\n",
			"sys/fs/cgroup/memory/memory.limit_in_bytes": "268435456\n",
		}, 256 << 20},
		{"limit above the machine", map[string]string{
			"proc/meminfo":             meminfo,
			"proc/self/cgroup":         "0::/\n",
			"sys/fs/cgroup/memory.max": "1099511627776\n",
		}, available},
	} {
		root := fstest.MapFS{}
		for name, text := range c.files {
			root[name] = &fstest.MapFile{Data: []byte(text)}
		}
		if got := memory(root); got != c.want {
			t.Errorf("%s: %d bytes, want %d", c.name, got, c.want)
		}
	}
}

func TestFits(t *testing.T) {
	root := fstest.MapFS{"proc/meminfo": &fstest.MapFile{Data: []byte("MemAvailable: 4000 kB\n")}}
	for size, want := range map[int64]bool{0: true, 3000 << 10: true, 3000<<10 + 1: false, math.MaxInt64: false} {
		if got := fits(size, root); got != want {
			t.Errorf("%d bytes: %v", size, got)
		}
	}
}
