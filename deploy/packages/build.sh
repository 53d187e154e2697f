#!/bin/sh
# Builds deb and rpm packages for $ARCHITECTURES in $DIST, and for each program the
# list of its components (SBOM). "make packages" sets the variables. $PACKAGERS is
# the directory of nfpm and cyclonedx-gomod. The default of $MAINTAINER is the author
# of the last commit.
set -eu
umask 022
case $VERSION in
'' | *[!A-Za-z0-9.+~-]*)
	echo "VERSION: '$VERSION' is not a version; set one such as v1.2.3" >&2
	exit 1
	;;
esac
export MAINTAINER="${MAINTAINER:-$(git log -1 --format='%an <%ae>')}"
# v1.2.3 is 1.2.3, v1.2.3-rc.1 is 1.2.3~rc.1, and v1.2.3-4-gabcdef0 is 1.2.3+4.gabcdef0.
# A commit without a tag is ordered by its date.
date=$(date -u -d "@$SOURCE_DATE_EPOCH" +%Y%m%d%H%M%S)
package_version=$(echo "$VERSION" | sed -E "s/^v([0-9])/\\1/; s/-(alpha|beta|rc)/~\\1/; s/-/+/; s/-/./g; /^[0-9]+\\./!s/^/0~$date./")

rm -rf "$DIST"
mkdir -p "$DIST/examples"
cp -R LICENSE deploy/packages "$DIST"
cp -R deploy/grafana deploy/prometheus deploy/proxy deploy/rsync/rsyncd.conf "$DIST/examples"
chmod -R u=rwX,go=rX "$DIST"
go run ./internal/thirdparty texts "$DIST/copyright"
gzip -9n <CHANGELOG.md >"$DIST/changelog.gz"
printf 'promostore (%s) unstable; urgency=medium\n\n  * See changelog.gz.\n\n -- %s  %s\n' \
	"$package_version-1" "$MAINTAINER" "$(date -uR -d "@$SOURCE_DATE_EPOCH")" | gzip -9n >"$DIST/changelog.Debian.gz"

# "make install" runs these programs. Those of the packages are stripped.
go build -ldflags "$STAMP" -o "$DIST/bin/" ./cmd/...
for arch in $ARCHITECTURES; do
	root=$DIST/$arch
	make --no-print-directory install BIN="$DIST/bin" DESTDIR="$root" PREFIX=/usr
	GOARCH=$arch go build -trimpath -ldflags "-s -w $STAMP" -o "$root/usr/bin/" ./cmd/...
	for packager in deb rpm; do
		ROOT=$root ARCH=$arch VERSION=$package_version \
			"$PACKAGERS/nfpm" package --config deploy/packages/nfpm.yaml --packager "$packager" --target "$DIST"
	done
	for program in promobuild promoserve; do
		GOARCH=$arch "$PACKAGERS/cyclonedx-gomod" bin -json -std -noserial -notimestamp -version "$VERSION" \
			-output "$DIST/${program}_${package_version}_$arch.cdx.json" "$root/usr/bin/$program"
	done
	rm -rf "$root"
done
cd "$DIST"
rm -rf LICENSE packages examples bin copyright changelog.*
