#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# usage: install_dependencies.sh [--clang] [--aarch64] [--ccache] [--python]
# Installs what building torchao.cpp needs from Debian's packages; installs only what is missing. --clang: also clang,
# for the sanitizers and libFuzzer. --aarch64: also a cross compiler and QEMU, and unpacks the libraries for arm64 into
# build-aarch64/sysroot, without adding the architecture to this system. --ccache: also the compiler cache. --python: also
# headers and venv of Debian's Python.
# Runs as root or through sudo. Does nothing, quickly, when everything is there.
set -euo pipefail

packages=(
  g++ make cmake ninja-build pkg-config python3   # tools
  nlohmann-json3-dev                              # JSON
  libfmt-dev                                      # text formatting
  libspdlog-dev                                   # logging
  libcli11-dev                                    # the command line
  libpcre2-dev                                    # tokenizer patterns and "re:" keys
  libutf8proc-dev                                 # Unicode normal forms
  libdnnl-dev                                     # float matrix products (oneDNN)
  libgtest-dev libgmock-dev                       # tests
)

# Libraries for arm64, with those that they load.
arm64_packages=(libfmt-dev libspdlog-dev libpcre2-dev libutf8proc-dev libgtest-dev libgmock-dev libbenchmark-dev)
arm64_loaded='lib(fmt|spdlog|pcre2-8|utf8proc|benchmark)[-0-9a-z.]*'
sysroot=$(cd "$(dirname "$0")/.." && pwd)/build-aarch64/sysroot

aarch64=no
for argument in "$@"; do
  case $argument in
    --aarch64) aarch64=yes; packages+=(g++-aarch64-linux-gnu qemu-user) ;;
    --python) packages+=(python3-dev python3-venv) ;;
    --clang) packages+=(clang libclang-rt-dev libomp-dev) ;;  # the compiler, libFuzzer and sanitizers, OpenMP
    --ccache) packages+=(ccache) ;;
    *) printf '%s\n' "usage: install_dependencies.sh [--clang] [--aarch64] [--ccache] [--python]" >&2; exit 2 ;;
  esac
done

say() { printf '%s\n' "install_dependencies: $*"; }

if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
  say "this system has no apt-get, so nothing was installed. Install the equivalents of: ${packages[*]}" >&2
  exit 0
fi

missing=()
for package in "${packages[@]}"; do
  status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
  [ "$status" = installed ] || missing+=("$package")
done

# apt with lists and a cache of its own, for arm64 alone.
arm64_apt() {
  local command=$1 state=$sysroot.part/apt
  shift
  "$command" -q -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o APT::Sandbox::User= -o Dir::State="$state" \
    -o Dir::State::Lists="$state/lists" -o Dir::State::status=/dev/null -o Dir::Cache="$state/cache" "$@"
}

# Unpacks the libraries for arm64; the folder is there when all of them are.
unpack_arm64() {
  [ "$aarch64" = yes ] || return 0
  if [ -d "$sysroot" ]; then
    say "the libraries for arm64 are in $sysroot"
    return 0
  fi
  rm -rf "$sysroot.part"
  mkdir -p "$sysroot.part/apt/lists/partial" "$sysroot.part/apt/cache/archives/partial" "$sysroot.part/packages"
  arm64_apt apt-get update
  local loaded
  loaded=$(arm64_apt apt-cache depends "${arm64_packages[@]}" |
    sed -nE "s/^ *Depends: ($arm64_loaded)\$/\1/p" | grep -v -e '-dev$' | sort -u)
  # shellcheck disable=SC2086
  (cd "$sysroot.part/packages" && arm64_apt apt-get download "${arm64_packages[@]}" $loaded)
  local file
  for file in "$sysroot.part"/packages/*.deb; do dpkg-deb -x "$file" "$sysroot.part/root"; done
  mv "$sysroot.part/root" "$sysroot"
  rm -rf "$sysroot.part"
  say "unpacked the libraries for arm64 into $sysroot"
}

if [ ${#missing[@]} -eq 0 ]; then
  say "all ${#packages[@]} packages are installed"
  unpack_arm64
  exit 0
fi
say "missing: ${missing[*]}"

as_root=()
if [ "$(id -u)" -ne 0 ]; then
  if ! command -v sudo >/dev/null; then
    say "you are not root and there is no sudo; as root run: apt-get install -y --no-install-recommends ${missing[*]}" >&2
    exit 1
  fi
  if ! sudo -n true 2>/dev/null && [ ! -t 0 ]; then
    say "sudo asks for a password and there is no terminal; run: sudo apt-get install -y --no-install-recommends ${missing[*]}" >&2
    exit 1
  fi
  as_root=(sudo)
fi

install() {
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y --no-install-recommends -o Dpkg::Use-Pty=0 -q "${missing[@]}"
}

# The package lists are fetched only where they are absent or too old to install from.
known=yes
for package in "${missing[@]}"; do
  apt-cache show "$package" >/dev/null 2>&1 || known=no
done
if [ "$known" = no ] || ! install; then
  say "updating the package lists"
  "${as_root[@]}" apt-get update -q
  if ! install; then
    say "apt-get could not install: ${missing[*]} (see its messages above)" >&2
    exit 1
  fi
fi
say "installed: ${missing[*]}"
unpack_arm64
