#!/usr/bin/env bash
# Measure how building and serving scale with the processors of this machine.
#
#     make build && bench/cores.sh ROWS SECONDS
#
# DIR is a directory for large files, best one in memory. The output is one line for
# each measurement. Serving needs promopeer: go build -C bench ./cmd/promopeer.
set -euo pipefail
rows=$1 seconds=$2
here=$(cd "$(dirname "$0")" && pwd)
bin=$(cd "$here/../bin" && pwd)
dir=${DIR:-$(mktemp -d)}
mkdir -p "$dir"
cores=$(nproc)
counts=()
for n in 1 2 4 8 16 32 64; do
	if ((n <= cores)); then counts+=("$n"); fi
done
TIMEFORMAT='%R s, user %U s, system %S s'

"$bin/promobuild" generate --rows "$rows" --keys v4 >"$dir/a.csv"
(cd "$dir" && split -n l/16 -d a.csv part- && find . -name 'part-??' -print0 | xargs -0 -P "$cores" -n 1 gzip -1 -f)

build() { # NAME PROCESSORS ARGUMENTS...
	local name=$1 n=$2
	shift 2
	rm -rf "$dir/out"
	echo -n "build $name, $n processors: "
	time GOMAXPROCS=$n "$bin/promobuild" build --quiet --data "$dir/out" "$@"
}
for n in "${counts[@]}" "${counts[@]}" "${counts[@]}"; do build plain "$n" "$dir/a.csv"; done
for n in "${counts[@]}" "${counts[@]}"; do build gzip "$n" "$dir"/part-*.gz; done
for n in "${counts[@]}"; do build 'plain in 512 MiB' "$n" --memory 512MiB "$dir/a.csv"; done

export bin plan
all() { # COMMAND COUNT PROCESSES
	seq 0 $(($2 - 1)) | GOMAXPROCS=1 TMPDIR=$dir xargs -P "$3" -I '{}' "$bin/promobuild" "$1" --memory 1GiB --plan "$plan" --index '{}' >/dev/null 2>&1
}
for n in "${counts[@]}"; do
	rm -rf "$dir/work" "$dir/tasks"
	json=$("$bin/promobuild" plan --json --shards 16 --split-size $((rows * 78 / 16 / 1048576 + 1))MiB --work "$dir/work" --out "$dir/tasks" "$dir/a.csv")
	plan=$(sed -n 's/.*"plan":"\([^"]*\)".*/\1/p' <<<"$json")
	splits=$(sed -n 's/.*"splits":\([0-9]*\).*/\1/p' <<<"$json")
	echo -n "splits, $n processes: "
	time all split "$splits" "$n"
	echo -n "merges, $n processes: "
	time all merge 16 "$n"
	"$bin/promobuild" publish --plan "$plan" >/dev/null
done
rm -rf "$dir/work" "$dir/tasks" "$dir"/part-* "$dir/a.csv"

port=14320
for n in "${counts[@]}"; do
	for batch in false true; do
		port=$((port + 1))
		server=0-$((n - 1)) client=$n-$((cores - 1))
		if ((n > cores / 2)); then server=0-$((cores - 1)) client=$server; fi
		GOMAXPROCS=$n taskset -c "$server" "$bin/promoserve" --data "$dir/out" --listen "127.0.0.1:$port" --access mmap >/dev/null 2>&1 &
		pid=$!
		until (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do sleep 0.1; done
		for _ in 1 2; do
			echo -n "serve, batch $batch, $n processors: "
			taskset -c "$client" "$here/promopeer" load "{\"Addr\":\"127.0.0.1:$port\",\"Batch\":$batch,\"Rows\":$rows,\"Connections\":$((16 * n)),\"Duration\":$((seconds * 1000000000))}"
		done
		kill "$pid"
		wait "$pid" || true
	done
done
rm -rf "$dir/out"
