#!/usr/bin/env bash
# Boots systemd in its own namespaces. The root directory is that of this machine
# with FILES added; changes to it are kept in memory and lost at the end. Usage:
#
#   unshare --mount boot.sh DIR GROUP FILES
#
# DIR is an empty directory to mount on, GROUP the name of a new control group.
# The only units are those in FILES/units and those that are installed later;
# systemd boots test.target.
set -euo pipefail
root=$1 group=$2 files=$3

if (($$ != 1)); then
	mount -t cgroup2 cgroup2 "$root"
	mkdir "$root/$group"
	echo 0 >"$root/$group/cgroup.procs"
	umount "$root"
	exec unshare --pid --fork --kill-child --mount --uts --ipc --cgroup bash "$0" "$@"
fi

mount -t tmpfs tmpfs "$root"
mkdir "$root"/{changes,work,root}
mount -t overlay -o "lowerdir=/,upperdir=$root/changes,workdir=$root/work" overlay "$root/root"
root+=/root
rm -rf "$root"/etc/systemd/system "$root"/usr/lib/systemd/system # of this machine
cp -a "$files/." "$root"
mkdir -p "$root/var/lib/private"
mount --bind "$files/state" "$root/var/lib/private"
mount -t proc proc "$root/proc"
mount --bind /proc/sys "$root/proc/sys"
mount -o remount,bind,ro "$root/proc/sys" # it is shared with the whole machine
mount -t sysfs -o ro sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/run"
mount -t tmpfs tmpfs "$root/tmp"
cd "$root"
pivot_root . mnt
umount -l /mnt
cd /
mount --make-rshared / # the default of systemd, except in containers
exec env -i container=test PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
	SYSTEMD_UNIT_PATH=/units:/etc/systemd/system:/usr/lib/systemd/system \
	/lib/systemd/systemd --system --unit=test.target --log-target=null --show-status=no
