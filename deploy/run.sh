#!/usr/bin/env bash
# Serves a sample CSV and accepts uploads until Ctrl-C, for "make run". Variables:
#
#   SAMPLE            the CSV
#   DATA              the directory of the generations
#   LISTEN, UPDATER   the addresses of promoserve and of the updater
#
# It builds the sample in an empty directory, and again if the sample has changed
# and is the newest generation. It never hides another data set of the directory.
set -euo pipefail

tmp=$(mktemp -d)
pids=() readers=()
trap 'kill "${pids[@]}" 2>/dev/null || true; wait; rm -r "$tmp"' EXIT
trap 'exit 0' INT TERM HUP

newest() {
	local files
	shopt -s nullglob
	files=("$DATA"/promotions-*.pgen)
	((${#files[@]} == 0)) || basename "${files[-1]}"
}

# The marker holds the file of the sample and the checksum of the CSV.
checksum=$(cksum <"$SAMPLE")
built=$(cat "$DATA/.sample" 2>/dev/null || true)
live=$(newest)
if [[ -z $live || $built == "$live "* && $built != "$live $checksum" ]]; then
	bin/promobuild build --quiet --data "$DATA" "$SAMPLE"
	printf '%s %s\n' "$(newest)" "$checksum" >"$DATA/.sample"
fi

# await prints the log of a program up to a line that matches a pattern.
await() {
	while read -r line <&"$log"; do
		printf '%s\n' "$line"
		[[ ! $line =~ $1 ]] || return 0
	done
	printf '\n%s\n  %s\n\n' "The log above has the reason. You can choose other addresses and another directory:" \
		"make run LISTEN=:8321 UPDATER=127.0.0.1:8322 DATA=mydata"
	exit 1
}

# start starts a program and returns when its log matches a pattern.
start() {
	local ready=$1 log line
	shift
	mkfifo "$tmp/log"
	"$@" --data "$DATA" --drain 0s --log-level info --log-format text >"$tmp/log" 2>&1 &
	pids+=($!)
	exec {log}<"$tmp/log"
	rm "$tmp/log"
	await ' msg=serving '
	address=${line#* address=} address=${address%% *}
	address=${address/#'[::]:'/localhost:} address=${address/#0.0.0.0:/localhost:}
	[[ $line =~ $ready ]] || await "$ready"
	cat <&"$log" &
	readers+=($!)
	exec {log}<&-
}

start 'msg="generation (live|refused)"' bin/promoserve --listen "$LISTEN" --tls-self-signed
api=$address
start . bin/promobuild updater --listen "$UPDATER"
id=$(grep -om1 '[0-9a-fA-F]\{8\}-[0-9a-fA-F-]\{27\}' "$SAMPLE" || true)
bin/promobuild get "$DATA" "$id" &>/dev/null || IFS=, read -r id _ < <(bin/promobuild dump "$DATA") || true
cat <<END

Try:
  curl http://$api/promotions/${id:-ID}
  curl -k https://$api/promotions/${id:-ID}
  curl --form data=@$SAMPLE http://$address/upload

Or open http://$api/ and http://$address/ in a browser.
Generations are in $DATA. Ctrl-C stops both programs.

END
wait -n "${readers[@]}" # until a program ends by itself
exit 1
