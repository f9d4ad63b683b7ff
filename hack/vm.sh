#!/usr/bin/env bash
# Runs tests of the node in a virtual machine: Debian 12's kernel for clouds,
# with cgroup v2 alone, without what newer kernels have (lowerdir+ of overlayfs
# came with Linux 6.7), and with two NUMA nodes. The machine has no disk and no
# network: all that it needs goes into its initramfs, and it is gone when it ends.
#
# usage: hack/vm.sh [FOLDER...]    folders of test packages, such as internal/node/runtime/runc
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$here/.."
# shellcheck source=debs.sh
source "$here/debs.sh"
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
# The kernel and busybox are Debian's packages, unpacked and not installed.
parts=$PWD/bin/vm
# What hack/vm/init.sh and the tests call, beside what busybox does.
programs=(bash cat sleep mount umount unshare ldd mksquashfs runc conmon getent)
modules=(loop squashfs overlay)
tests=(internal/node/cgroup internal/node/loopdev internal/node/preflight internal/node/rootfs internal/node/runtime/runc)
# What is tested where the machine is emulated, which is slow: all that depends
# on the version of cgroups, and both ways of mounting an overlay.
essential='Attach$|AttachFalls|ThisNodeIsFit|MountShows|ManyLayers/120|RecoverAdopts|ExitCodes|OOMKill|ForksBeyond|DeleteKills|OutlivesItsAgent|ConmonIsOut|WorkerInside|HostileProbe|WorkersOwnMetrics|CoresAreNot|RemoveEmpty'

# packages prints the kernel that the package for clouds names, and busybox; or
# nothing, where apt has no lists yet.
packages() {
    apt-cache depends --important linux-image-cloud-amd64 | awk '$1 == "Depends:" { print $2; exit }' | grep . && echo busybox-static
}

# put copies files of this machine to their places in the guest, links resolved.
put() {
    local file
    for file in "$@"; do
        [[ -e $guest$file ]] || install -D --mode 755 "$(realpath "$file")" "$guest$file"
    done
}

# put_programs copies programs with the libraries that they load.
put_programs() {
    local name file
    for name in "$@"; do
        file=$(command -v "$name")
        install --mode 755 "$(realpath "$file")" "$guest/usr/bin/$name"
        mapfile -t libraries < <(ldd "$file" 2>/dev/null | grep -o '/[^ ]*' | grep -v ':$')
        put "${libraries[@]}"
    done
}

# put_modules copies file systems, block devices and what they need.
put_modules() {
    (cd "$parts" && cp --archive --parents "lib/modules/$1"/modules.* "lib/modules/$1"/kernel/{fs,lib,crypto,drivers/block} "$guest")
    "$parts/bin/busybox" depmod -b "$guest" "$1"
}

# compose fills the guest's root directory.
compose() {
    local folder
    mkdir -p "$guest"/{usr/bin,usr/lib64,usr/lib,dev,proc,sys,run,tmp,var/tmp,etc,root,test}
    ln -s bin "$guest/usr/sbin"
    ln -s usr/bin "$guest/bin"
    ln -s usr/bin "$guest/sbin"
    ln -s usr/lib "$guest/lib"
    ln -s usr/lib64 "$guest/lib64"
    put_programs "${programs[@]}"
    install "$parts/bin/busybox" "$guest/usr/bin/busybox"
    # Programs load it when they end a thread.
    put "$(ldconfig -p | awk '/libgcc_s.so.1 .*x86-64/ { print $NF; exit }')"
    put_modules "$(basename "$parts"/lib/modules/*)"
    cp /etc/passwd /etc/group /etc/nsswitch.conf "$guest/etc/"
    printf '127.0.0.1 localhost\n' >"$guest/etc/hosts"
    printf 'vm\n' >"$guest/etc/hostname"
    : >"$guest/etc/resolv.conf"
    install hack/vm/init.sh "$guest/init"
    for folder in "${tests[@]}"; do
        mkdir -p "$guest/test/$folder"
        CGO_ENABLED=0 go test -c -o "$guest/test/$folder/tests" "./$folder"
        [[ ! -d $folder/testdata ]] || cp -r "$folder/testdata" "$guest/test/$folder/"
    done
    # Those of runc read it.
    mkdir -p "$guest/test/internal/node/ocispec"
    cp -r internal/node/ocispec/testdata "$guest/test/internal/node/ocispec/"
    mkdir "$guest/test/programs"
    CGO_ENABLED=0 go build -o "$guest/test/programs/" ./internal/node/runtime/runtimetest/testdata/guest ./test/hostile/worker
    printf '%s\n' "${modules[@]}" >"$guest/test/modules"
}

# pack makes the initramfs.
pack() { (cd "$guest" && find . | "$parts/bin/busybox" cpio -o -H newc) >"$work/initramfs" 2>/dev/null; }

# machine SECONDS ACCELERATION WORDS... runs the machine with words for its kernel.
machine() {
    local limit=$1 accel=$2 cpu=host
    shift 2
    [[ $accel == kvm ]] || cpu=max
    timeout "$limit" qemu-system-x86_64 -accel "$accel" -cpu "$cpu" -smp 2 -m 3072 \
        -object memory-backend-ram,id=m0,size=1536M -object memory-backend-ram,id=m1,size=1536M \
        -numa node,cpus=0,memdev=m0 -numa node,cpus=1,memdev=m1 \
        -kernel "$parts"/boot/vmlinuz-* -initrd "$work/initramfs" -append "console=ttyS0 loglevel=1 panic=-1 no_timer_check $*" \
        -nodefaults -display none -serial stdio -monitor none -no-reboot </dev/null
}

# acceleration prints how the machine is run: by KVM if it starts with it, which
# a /dev/kvm alone does not promise, else by emulation.
acceleration() {
    if [[ -w /dev/kvm ]] && machine 120 kvm vm.probe 2>/dev/null | grep -q '^vm: up'; then
        echo kvm
    else
        echo tcg
    fi
}

main() {
    local accel begun=$SECONDS
    (($# == 0)) || tests=("$@")
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    guest=$work/guest
    unpack_debs "$parts" packages
    compose
    pack
    accel=$(acceleration)
    if [[ $accel == tcg ]]; then
        echo "vm: no KVM, so the machine is emulated, and of the tests only these run: $essential"
        printf '%s\n' "$essential" >"$guest/test/chosen"
        pack
    fi
    machine 1200 "$accel" | sed --unbuffered 's|\r$||' | tee "$work/console" || echo 'vm: the machine did not end by itself' >&2
    echo "vm: took $((SECONDS - begun)) s"
    grep -q '^vm: passed' "$work/console"
}

main "$@"
