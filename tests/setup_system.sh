#!/usr/bin/env bash
# Installs the programs that tests run beside Python, by Debian package name. Does nothing when all are there.
set -euo pipefail

# One line each: the command that must be found, the package that brings it.
needed="\
chromium chromium
strace strace
ip iproute2
nft nftables
iptables iptables
mmdebstrap mmdebstrap
buildah buildah
podman podman
/usr/libexec/podman/catatonit catatonit
busybox busybox-static
runc runc
podman-compose podman-compose
/usr/lib/podman/netavark netavark
/usr/lib/podman/aardvark-dns aardvark-dns"

missing() {
  while read -r command package; do
    command -v "$command" >/dev/null || printf ' %s' "$package"
  done <<<"$needed"
}

PATH=$PATH:/usr/sbin:/sbin
packages=$(missing)
[ -n "$packages" ] || exit 0

as_root=
if [ "$(id -u)" != 0 ]; then as_root="sudo --non-interactive"; fi
echo "Installing what the tests need:$packages" >&2
if ! command -v apt-get >/dev/null || ! $as_root true 2>/dev/null; then
  echo "This needs apt-get and root. Install these Debian packages (or what your system calls them) by hand:$packages" >&2
  exit 1
fi
$as_root apt-get update -qq
# shellcheck disable=SC2086 # the packages are words
$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages >/dev/null
packages=$(missing)
if [ -n "$packages" ]; then
  echo "Still missing after apt-get install:$packages. Install them by hand, then run this again." >&2
  exit 1
fi
