#!/bin/sh
# Makes a small Debian sid in DIRECTORY, with those of python3.14 and python3.15 that it has, for tests/python_stacks.rs:
#
#     tests/pythons/make_root.sh DIRECTORY && STETH_PYTHON_ROOT=DIRECTORY cargo test --test python_stacks
#
# Needs root and debootstrap. The mirror and the proxy are those of this machine's own apt. Idempotent: a finished root is
# left as it is, a half-made one is made anew. Exit code 3: sid has neither of the two.
set -eu

root=${1:?usage: $0 DIRECTORY}
finished=$root/.steth-root

# The first mirror that apt uses for Debian itself: deb822 (*.sources), then one-line (*.list).
mirror_of_apt() {
    for file in /etc/apt/sources.list.d/*.sources; do
        [ -r "$file" ] && awk '$1 == "URIs:" && $2 !~ /security/ { print $2; exit }' "$file"
    done
    for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
        [ -r "$file" ] && awk '$1 == "deb" { sub(/\[[^]]*\] */, ""); if ($2 !~ /security/) { print $2; exit } }' "$file"
    done
    return 0
}

[ "$(id -u)" = 0 ] || { echo "$0: needs root" >&2; exit 1; }
command -v debootstrap >/dev/null || { echo "$0: needs debootstrap" >&2; exit 1; }
if [ -e "$finished" ]; then
    echo "$root is ready: $(cat "$finished")"
    exit 0
fi

mirror=$(mirror_of_apt | head -n 1)
[ -n "$mirror" ] || { echo "$0: apt's configuration names no mirror" >&2; exit 1; }
eval "$(apt-config shell proxy Acquire::http::Proxy)"
if [ -n "${proxy:-}" ] && [ "$proxy" != DIRECT ]; then
    export http_proxy="$proxy"
fi

[ -d "$root/debootstrap" ] && rm -rf "$root"
if [ ! -e "$root/usr/bin/apt-get" ]; then
    debootstrap --variant=minbase sid "$root" "$mirror"
fi

pythons=
for version in 3.14 3.15; do
    if chroot "$root" apt-cache show "python$version-minimal" >/dev/null 2>&1; then
        pythons="$pythons python$version"
    fi
done
[ -n "$pythons" ] || { echo "$0: sid has neither python3.14 nor python3.15" >&2; exit 3; }
# shellcheck disable=SC2086 # a list of package names
chroot "$root" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $pythons
echo "$pythons" >"$finished"
echo "$root is ready:$pythons"
