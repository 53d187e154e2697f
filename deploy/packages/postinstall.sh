#!/bin/sh
# Creates the user of the services. Starts, restarts and enables none of them.
set -e
if command -v systemd-sysusers >/dev/null; then
	systemd-sysusers promostore.conf
elif ! getent passwd promostore >/dev/null; then
	useradd --system --user-group --no-create-home --home-dir /var/lib/promostore --shell /usr/sbin/nologin promostore
fi
if [ -d /run/systemd/system ]; then systemctl daemon-reload; fi
