#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# usage: install_dependencies.sh [--fuzz]
# Installs what building torchao.cpp needs from Debian's packages; installs only what is missing. --fuzz: also clang and
# what libFuzzer needs.
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

for argument in "$@"; do
  case $argument in
    --fuzz) packages+=(clang libclang-rt-dev libomp-dev) ;;  # the compiler, libFuzzer and sanitizers, OpenMP
    *) printf '%s\n' "usage: install_dependencies.sh [--fuzz]" >&2; exit 2 ;;
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

if [ ${#missing[@]} -eq 0 ]; then
  say "all ${#packages[@]} packages are installed"
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
