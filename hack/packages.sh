#!/usr/bin/env bash
# Installs the programs that tests and the demo need and this machine lacks, with
# the argument "vm" also those of hack/vm.sh, with "cluster" those of a node of
# hack/cluster.sh, with "images" those that the images are built with. On Debian
# and its kin with apt-get; elsewhere it names what is missing.
set -euo pipefail

# Program, Debian package, and RHEL/Fedora package.
needed=(
    'runc runc runc'
    'conmon conmon conmon'
    'mksquashfs squashfs-tools squashfs-tools'
    'skopeo skopeo skopeo'
    'umoci umoci umoci'
    'debootstrap debootstrap debootstrap'
    'openssl openssl openssl'
    'umount mount util-linux'
    'mkfs.ext4 e2fsprogs e2fsprogs'
    'pgrep procps procps-ng'
    'strace strace strace'
    'useradd passwd shadow-utils'
    'shellcheck shellcheck ShellCheck'
    'gcc gcc gcc'
    'java default-jre-headless java-17-openjdk-headless'
    'javac default-jdk-headless java-17-openjdk-devel'
    'mvn maven maven'
    'krb5kdc krb5-kdc krb5-server'
    'kadmin.local krb5-admin-server krb5-server'
    'kinit krb5-user krb5-workstation'
)
vm=('qemu-system-x86_64 qemu-system-x86 qemu-kvm')
# containerd's own daemon is left alone: a cluster starts another.
cluster=(
    'containerd containerd containerd.io'
    '/usr/lib/cni/ptp containernetworking-plugins containernetworking-plugins'
    'ip iproute2 iproute'
)
images=(
    'aarch64-linux-gnu-gcc gcc-aarch64-linux-gnu gcc-aarch64-linux-gnu'
    'patchelf patchelf patchelf'
    'pkg-config pkgconf pkgconf'
    'qemu-aarch64-static qemu-user-static qemu-user-static'
)
# Packages without a program to look for: what the race detector links with,
# and the keys that debootstrap checks Debian's archive by.
libraries=(libc6-dev debian-archive-keyring)

PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin

installed() { [[ $(dpkg-query --show --showformat='${db:Status-Status}' "$1" 2>/dev/null) == installed ]]; }

# missing prints a word of the rows whose program is not there.
missing() {
    local field=$1 row words
    for row in "${needed[@]}"; do
        read -ra words <<<"$row"
        command -v "${words[0]}" >/dev/null || echo "${words[$field]}"
    done
}

# install takes the package lists as they are, and fetches newer ones only
# where that was not enough.
install() {
    local log
    log=$(mktemp)
    if ! apt_install "$@" >"$log" 2>&1; then
        { apt-get update && apt_install "$@"; } >"$log" 2>&1 || {
            tail -n 20 "$log" >&2
            rm -f "$log"
            echo "cannot install $*: see apt-get's words above" >&2
            return 1
        }
    fi
    rm -f "$log"
}

apt_install() {
    DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet --no-install-recommends -o DPkg::Lock::Timeout=120 "$@"
}

main() {
    local packages package
    case ${1:-} in
    vm) needed+=("${vm[@]}") ;;
    cluster) needed+=("${cluster[@]}") ;;
    images)
        needed+=("${images[@]}")
        libraries+=(libc6-dev-arm64-cross)
        ;;
    esac
    if ! command -v apt-get >/dev/null; then
        mapfile -t packages < <(missing 2)
        ((${#packages[@]} == 0)) && return
        echo "this machine has no apt-get; install with its own tool: ${packages[*]}" >&2
        return 1
    fi
    mapfile -t packages < <(missing 1)
    for package in "${libraries[@]}"; do
        installed "$package" || packages+=("$package")
    done
    ((${#packages[@]} == 0)) && return
    if ((EUID != 0)); then
        echo "missing packages; run as root: apt-get install ${packages[*]}" >&2
        return 1
    fi
    echo "Installing ${packages[*]}" >&2
    install "${packages[@]}"
}

main "$@"
