#!/bin/sh
# Writes the files that its arguments name below $DESTDIR$PREFIX. $BIN has the
# programs. "make install" sets the variables.
set -eu
umask 022
if ! [ -x "$BIN/promobuild" ] || ! [ -x "$BIN/promoserve" ]; then
	echo "$BIN lacks the programs. Run \"make build\" first." >&2
	exit 1
fi
to=$DESTDIR$PREFIX
bin=$(realpath "$BIN")
version=$("$bin/promoserve" --version | sed 's/.* version //; s/[\\&/]/\\&/g')
# The prefix in the syntax of systemd, and then of sed.
escaped=$(printf %s "$PREFIX" | sed 's/\\/\\x5c/g; s/ /\\x20/g; s/%/%%/g; s/[\\&|]/\\&/g')

for f; do
	mkdir -p "$to/${f%/*}"
	name=${f##*/}
	case $f in
	bin/promo-pull) cat deploy/rsync/promo-pull ;;
	bin/*) cat "$bin/$name" ;;
	lib/*) sed "s|/usr/local/bin/|$escaped/bin/|" "deploy/systemd/$name" ;;
	*.1.gz) sed "s/@VERSION@/$version/; s/@DATE@/$(date -u -d "@$SOURCE_DATE_EPOCH" +%F)/" "docs/man/${name%.gz}" | gzip -9n ;;
	*.fish) "$bin/${name%.fish}" completion fish ;;
	*/_*) "$bin/${name#_}" completion zsh ;;
	*) "$bin/$name" completion bash ;;
	esac >"$to/$f.new"
	case $f in bin/*) chmod 755 "$to/$f.new" ;; esac
	mv "$to/$f.new" "$to/$f"
done
