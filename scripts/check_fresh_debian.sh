#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Shows that a fresh Debian 12 machine can build, show and test this repository: makes a minimal system with debootstrap,
# adds git, ca-certificates, make and sudo, clones HEAD into it and runs `make demo` and `make test` there as a user who
# is not root. Needs root and debootstrap.
#
# usage: check_fresh_debian.sh [--work FOLDER] [--base FOLDER] [--keep] [TARGET...]
#   --work  where the system is made (default: a temporary folder)
#   --base  keeps the bare system there, so that a later run need not download it again
#   --keep  leaves the finished system for a look
#   TARGET  what to make (default: demo test)
set -euo pipefail

repository=$(cd "$(dirname "$0")/.." && pwd)
work=
base=
keep=no
targets=()
while [ $# -gt 0 ]; do
  case $1 in
    --work) work=$2; shift 2 ;;
    --base) base=$2; shift 2 ;;
    --keep) keep=yes; shift ;;
    --help | -h) sed -n '3,12s/^# \{0,1\}//p' "$0"; exit 0 ;;
    -*) echo "check_fresh_debian: unknown option $1" >&2; exit 2 ;;
    *) targets+=("$1"); shift ;;
  esac
done
[ ${#targets[@]} -gt 0 ] || targets=(demo test)

say() { printf '\n==== %s\n' "$*"; }

if [ "$(id -u)" -ne 0 ] || ! command -v debootstrap >/dev/null; then
  echo "check_fresh_debian: needs root and debootstrap (apt-get install debootstrap)" >&2
  exit 1
fi
[ -n "$work" ] || work=$(mktemp -d)
mkdir -p "$work"
root=$work/root
[ -n "$base" ] || base=$work/base

mounted=()
cleanup() {
  for point in "${mounted[@]}"; do umount -l "$point" 2>/dev/null || true; done
  [ "$keep" = yes ] || rm -rf --one-file-system "$root"
}
trap cleanup EXIT

# The mirror that this machine itself uses.
mirror=$(grep -hoE 'https?://[^ ]+/debian/?( |$)' /etc/apt/sources.list /etc/apt/sources.list.d/*.sources \
  /etc/apt/sources.list.d/*.list 2>/dev/null | head -n 1 | tr -d ' ' || true)
mirror=${mirror:-http://deb.debian.org/debian}

if [ ! -x "$base/usr/bin/git" ]; then
  say "debootstrap bookworm from $mirror, with git, ca-certificates, make, sudo"
  debootstrap --variant=minbase --include=git,ca-certificates,make,sudo bookworm "$base" "$mirror"
fi

say "a fresh copy of the system in $root"
[ ! -e "$root" ] || { echo "check_fresh_debian: $root exists; remove it first" >&2; exit 1; }
cp -a "$base" "$root"
cp -L /etc/resolv.conf "$root/etc/resolv.conf"
cp -L /etc/hosts "$root/etc/hosts"
# Sources and download settings of this machine, no hooks.
for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.sources /etc/apt/sources.list.d/*.list; do
  [ -f "$file" ] || continue
  mkdir -p "$root$(dirname "$file")"
  cp "$file" "$root$file"
done
for file in /etc/apt/apt.conf /etc/apt/apt.conf.d/*; do
  [ -f "$file" ] || continue
  if grep -q '^ *Acquire' "$file" && ! grep -q 'Invoke' "$file"; then cp "$file" "$root$file"; fi
done
rm -rf "$root"/var/lib/apt/lists/*

mkdir -p "$root/proc" "$root/dev"
if mount -t proc proc "$root/proc" 2>/dev/null || mount --bind /proc "$root/proc" 2>/dev/null; then
  mounted+=("$root/proc")
fi
if [ ! -c "$root/dev/null" ] && mount --bind /dev "$root/dev"; then mounted+=("$root/dev"); fi

chroot "$root" useradd --create-home --shell /bin/bash builder
echo 'builder ALL=(ALL) NOPASSWD: ALL' >"$root/etc/sudoers.d/builder"
chmod 440 "$root/etc/sudoers.d/builder"

if [ -n "$(git -C "$repository" status --porcelain)" ]; then
  echo "check_fresh_debian: note: changes that are not committed are left out"
fi
git -C "$repository" bundle create -q "$root/home/builder/torchao.cpp.bundle" HEAD

proxies=()
for name in http_proxy https_proxy no_proxy HTTP_PROXY HTTPS_PROXY NO_PROXY; do
  [ -z "${!name:-}" ] || proxies+=("$name=${!name}")
done
inside() {
  chroot --userspec=builder:builder --groups= "$root" /usr/bin/env -i HOME=/home/builder USER=builder LANG=C.UTF-8 \
    PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin "${proxies[@]}" /bin/bash -c "$1"
}

say "packages before: $(inside 'dpkg-query -f "x\n" -W | wc -l'); compilers: $(inside 'command -v g++ cmake python3 || echo none')"
inside 'git -c advice.detachedHead=false clone -q ~/torchao.cpp.bundle ~/torchao.cpp && git -C ~/torchao.cpp log -1 --oneline'
for target in "${targets[@]}"; do
  say "make $target"
  start=$SECONDS
  inside "cd ~/torchao.cpp && make $target" </dev/null || {
    status=$?
    say "make $target ended with exit status $status after $((SECONDS - start)) s"
    exit "$status"
  }
  say "make $target: done in $((SECONDS - start)) s"
done
if [ -n "$(inside 'git -C ~/torchao.cpp status --porcelain')" ]; then
  echo "check_fresh_debian: the build left files in the source tree:" >&2
  inside 'git -C ~/torchao.cpp status --porcelain' >&2
  exit 1
fi
say "all done on a fresh Debian $(cat "$root/etc/debian_version")"
