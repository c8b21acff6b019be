#!/usr/bin/env bash
# Prints the name of a Python base image that the engine has: the official one if a registry answers, else
# one made from Debian packages. Progress goes to stderr.
#
# SCONECTL_BASE_IMAGE  the name that the image made here gets (and is looked for under)
set -euo pipefail
PATH=$PATH:/usr/sbin:/sbin

official=python:3.12-slim-bookworm
ours=${SCONECTL_BASE_IMAGE:-sconectl-base/python:slim-bookworm}
suite=bookworm
packages=python3,python3-pip,ca-certificates
here=$(dirname "$0")

have() {
    docker image inspect "$1" >/dev/null 2>&1
}

for image in "$ours" "$official"; do
    if have "$image"; then
        echo "$image"
        exit 0
    fi
done
if timeout 120 docker pull --quiet "$official" >/dev/null 2>&1; then
    echo "$official"
    exit 0
fi

cache=${XDG_CACHE_HOME:-$HOME/.cache}/sconectl
if ! command -v dpkg >/dev/null || [ "$(id -u)" != 0 ]; then
    echo "missing: a Python base image — no registry answers, and making one from Debian packages needs root" \
        "on a Debian-like machine" >&2
    exit 1
fi
arch=$(dpkg --print-architecture)
archive=$cache/python-slim-$suite-$arch.tar.gz

mirror() {
    local found=""
    if grep -qs '^ID=debian' /etc/os-release; then
        found=$(cat /etc/apt/sources.list.d/debian.sources /etc/apt/sources.list 2>/dev/null |
            sed -nE 's/^(URIs:|deb( \[[^]]*\])?) +(https?:\/\/[^ ]+).*/\3/p' | grep -v security | head -n 1) || true
    fi
    echo "${found:-http://deb.debian.org/debian}"
}

# Removes what slim images have not: manuals, documentation but for licences, and translations (a quarter of all bytes).
# Packages that are installed later leave them out, too. Directories stay: some packages put links into them.
leave_out_documentation() { # ROOT
    cat >"$1/etc/dpkg/dpkg.cfg.d/slim" <<'CONFIGURATION'
path-exclude=/usr/share/doc/*
path-include=/usr/share/doc/*/copyright
path-exclude=/usr/share/info/*
path-exclude=/usr/share/man/*
path-exclude=/usr/share/locale/*
path-include=/usr/share/locale/locale.alias
CONFIGURATION
    (
        cd "$1/usr/share"
        find doc -mindepth 2 ! -type d ! -name copyright -delete # packages may share a directory by a link
        find info man locale ! -type d ! -name locale.alias -delete
    )
}

# Writes the root file system to the archive; the same packages give the same bytes.
make_archive() {
    local work root log released
    command -v debootstrap >/dev/null || "$here/apt-install.sh" debootstrap debian-archive-keyring
    mkdir -p "$cache"
    work=$(mktemp -d "${TMPDIR:-/var/tmp}/sconectl-base.XXXXXX")
    # shellcheck disable=SC2064 # the directory's name must be fixed now
    trap "umount -q '$work/root/proc' '$work/root/sys' 2>/dev/null || true; rm -rf --one-file-system '$work'" EXIT
    root=$work/root
    log=$cache/debootstrap.log
    echo "making a Python base image from Debian packages of $(mirror) (about a minute, once)" >&2
    if ! debootstrap --variant=minbase --include="$packages" "$suite" "$root" "$(mirror)" </dev/null >"$log" 2>&1; then
        tail -n 5 "$log" >&2
        echo "debootstrap failed; its last lines are above, the rest is in $log" >&2
        exit 1
    fi
    # What the installation itself left behind differs from run to run. Files keep the dates of their
    # packages (Python's compiled modules depend on them); whatever is younger gets the release's date.
    released=$(date -d "$(sed -n 's/^Date: //p' "$root"/var/lib/apt/lists/*_InRelease | head -n 1)" +%s)
    rm -rf "$root"/var/cache/apt/* "$root"/var/lib/apt/lists/* "$root"/var/cache/ldconfig/aux-cache \
        "$root"/var/cache/debconf/*-old "$root"/var/lib/dpkg/*-old "$root"/var/log/* "$root"/debootstrap \
        "$root"/etc/machine-id "$root"/etc/resolv.conf "$root"/etc/hostname
    leave_out_documentation "$root"
    : >"$root/etc/machine-id"
    tar --create --directory "$root" --one-file-system --sort=name --numeric-owner --xattrs \
        --pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime \
        --clamp-mtime --mtime="@$released" . | gzip -n -3 >"$archive.part"
    mv "$archive.part" "$archive"
}

[ -e "$archive" ] || make_archive
echo "importing $archive as $ours" >&2
docker import "$archive" "$ours" >/dev/null
echo "$ours"
