#!/bin/sh
# Builds deb and rpm packages for $ARCHITECTURES in $DIST, and for each program the
# list of its components (SBOM). "make packages" sets the variables. $PACKAGERS is
# the directory of nfpm and cyclonedx-gomod.
set -eu
umask 022

rm -rf "$DIST"
mkdir -p "$DIST/examples"
cp -R LICENSE deploy/packages "$DIST"
cp -R deploy/grafana deploy/prometheus deploy/proxy deploy/rsync/rsyncd.conf "$DIST/examples"
chmod -R u=rwX,go=rX "$DIST"
go run ./internal/thirdparty texts "$DIST/copyright"
gzip -9n <CHANGELOG.md >"$DIST/changelog.gz"
printf 'promostore (%s) unstable; urgency=medium\n\n  * See changelog.gz.\n\n -- %s  %s\n' \
	"$PACKAGE_VERSION-1" "$MAINTAINER" "$(date -uR -d "@$SOURCE_DATE_EPOCH")" | gzip -9n >"$DIST/changelog.Debian.gz"

# "make install" runs these programs. Those of the packages are stripped.
go build -ldflags "$STAMP" -o "$DIST/bin/" ./cmd/...
for arch in $ARCHITECTURES; do
	root=$DIST/$arch
	make --no-print-directory install BIN="$DIST/bin" DESTDIR="$root" PREFIX=/usr
	GOARCH=$arch go build -trimpath -ldflags "-s -w $STAMP" -o "$root/usr/bin/" ./cmd/...
	for packager in deb rpm; do
		ROOT=$root ARCH=$arch VERSION=$PACKAGE_VERSION \
			"$PACKAGERS/nfpm" package --config deploy/packages/nfpm.yaml --packager "$packager" --target "$DIST"
	done
	for program in promobuild promoserve; do
		GOARCH=$arch "$PACKAGERS/cyclonedx-gomod" bin -json -std -noserial -notimestamp -version "$VERSION" \
			-output "$DIST/${program}_${PACKAGE_VERSION}_$arch.cdx.json" "$root/usr/bin/$program"
	done
	rm -rf "$root"
done
cd "$DIST"
rm -rf LICENSE packages examples bin copyright changelog.*
