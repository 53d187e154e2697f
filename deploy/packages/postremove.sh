#!/bin/sh
# Data in /var/lib/promostore and its owner, the user promostore, remain, even after
# a purge.
set -e
if [ -d /run/systemd/system ]; then systemctl daemon-reload; fi
