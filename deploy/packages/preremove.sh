#!/bin/sh
# Stops and disables the services before the package is removed, but not before an
# upgrade.
set -e
case $1 in remove | 0) ;; *) exit 0 ;; esac
for unit in promo-build.timer promo-pull.timer promo-pull-s3.timer promo-build.service promo-pull.service promo-pull-s3.service \
	promo-updater.service promoserve.service; do
	if [ -d /run/systemd/system ]; then systemctl stop "$unit"; fi
	if command -v systemctl >/dev/null; then systemctl --no-reload disable --quiet "$unit"; fi
done
