#!/usr/bin/env bash
# Builds the demo's image, an OCI layout, in .cache/demo-image: Debian with bash,
# a JDK above it, and a small Java program on top. Debian's packages come from
# the archive that this machine's apt uses. It does nothing when it is there.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cache=$(cd "$here/../.." && pwd)/.cache
out=$cache/demo-image
suite=bookworm
# shellcheck source=../progress.sh
source "$here/../progress.sh"

# stamp names what the image is made from.
stamp() { cat "${BASH_SOURCE[0]}" "$here/Clock.java" | sha256sum | cut -d' ' -f1; }

# archive RELEASE prints the URL of the archive where apt finds a release.
archive() {
    # shellcheck disable=SC2016 # apt-get fills these in, not the shell
    apt-get indextargets --format '$(RELEASE) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages' |
        awk -v release="$1" '$1 == release && $2 == "main" { print $3; exit }'
}

# inside ROOT COMMAND... runs COMMAND in the tree ROOT, with /proc. The mount and
# every process end with this process, however it ends.
inside() {
    local root=$1
    shift
    unshare --mount --pid --fork --kill-child --mount-proc="$root/proc" \
        chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 "$@"
}

# slim leaves out what a worker does not read.
slim() {
    local root=$1
    rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/*.bin "$root"/var/cache/apt/archives/*.deb \
        "$root"/var/log/*.log "$root"/var/log/apt "$root"/var/cache/ldconfig/*
    # Directories stay: packages link into those of the manual.
    find "$root"/usr/share/{man,info,locale} ! -type d -delete
    find "$root/usr/share/doc" -type f ! -name copyright -delete
}

debian_layer() {
    local root=$1 mirror=$2
    # A build that is cut short is thrown away, so dpkg need not sync each file.
    mkdir -p "$root/etc/dpkg/dpkg.cfg.d"
    echo force-unsafe-io >"$root/etc/dpkg/dpkg.cfg.d/build"
    debootstrap --variant=minbase --include=ca-certificates "$suite" "$root" "$mirror"
    # Of the machine that builds; a container has its node's.
    : >"$root/etc/resolv.conf"
    : >"$root/etc/hostname"
    slim "$root"
}

jdk_layer() {
    local root=$1 mirror=$2 security
    security=$(archive "$suite-security")
    {
        echo "deb $mirror $suite main"
        [[ -z $security ]] || echo "deb $security $suite-security main"
    } >"$root/etc/apt/sources.list"
    # A proxy and the like, for as long as the packages are fetched.
    apt-config dump Acquire::http Acquire::https Acquire::Check-Valid-Until Acquire::Check-Date >"$root/etc/apt/apt.conf.d/00build"
    cat /etc/resolv.conf >"$root/etc/resolv.conf"
    inside "$root" apt-get update
    inside "$root" apt-get install --yes --no-install-recommends default-jdk-headless
    rm -f "$root"/etc/{apt/apt.conf.d/00build,dpkg/dpkg.cfg.d/build,apt/sources.list}
    : >"$root/etc/resolv.conf"
    slim "$root"
}

clock_layer() {
    local root=$1
    mkdir -p "$root/opt/clock"
    cp "$here/Clock.java" "$root/opt/clock/"
    inside "$root" javac -d /opt/clock /opt/clock/Clock.java
}

# layer NAME FUNCTION ARGUMENT... makes a layer of what FUNCTION changes.
layer() {
    local name=$1
    shift
    logged "$work/$name.log" "demo image, layer $name, lines of output" "" "$@"
    umoci repack --refresh-bundle --image "$work/oci:latest" "$work/bundle" >>"$work/$name.log" 2>&1
}

build() {
    local mirror root=$work/bundle/rootfs
    mirror=$(archive "$(. /etc/os-release && echo "${VERSION_CODENAME:-}")")
    if [[ -z $mirror ]]; then
        echo "apt on this machine has no Debian archive; set DEMO_IMAGE to another image" >&2
        return 1
    fi
    umoci init --layout "$work/oci"
    umoci new --image "$work/oci:latest"
    umoci unpack --image "$work/oci:latest" "$work/bundle"
    layer debian debian_layer "$root" "$mirror"
    layer jdk jdk_layer "$root" "$mirror"
    layer clock clock_layer "$root"
    umoci config --image "$work/oci:latest" --author stormcell --config.env JAVA_HOME=/usr/lib/jvm/default-java \
        --config.env PATH=/usr/lib/jvm/default-java/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        --config.env LANG=C.UTF-8
    umoci gc --layout "$work/oci"
}

main() {
    local want
    want=$(stamp)
    mkdir -p "$cache"
    # A second build waits for the first, and then has nothing to do.
    exec 8<"$cache"
    flock 8
    [[ ! -f $out/.built || $(<"$out/.built") != "$want" ]] || return 0
    rm -rf "$cache"/.demo-image.*
    work=$(mktemp -d "$cache/.demo-image.XXXXXX")
    trap 'rm -rf "$work"' EXIT
    note "The demo's image is built from Debian packages, once: about 2 minutes."
    build
    rm -rf "$out"
    printf '%s\n' "$want" >"$work/oci/.built"
    mv "$work/oci" "$out"
}

main "$@"
