#!/usr/bin/env bash
# Builds what the node-agent's image brings to hosts that have no conmon or runc,
# into bin/host-programs, a tree for each architecture:
#   opt/stormcell/ID/   what the agent copies to the same place of the host; ID
#                       is another one for other programs
#   licenses/           the licences of that
# runc is built from source, in the version that go.mod beside this script pins,
# and is static. conmon is Debian's, with the libraries and the loader that it
# needs, so that it runs on hosts that have other ones or none.
# It does nothing when they are there already.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
out=$(cd "$here/../.." && pwd)/bin/host-programs
declare -A triplets=([amd64]=x86_64-linux-gnu [arm64]=aarch64-linux-gnu)
# shellcheck source=../progress.sh
source "$here/../progress.sh"
# shellcheck source=../debs.sh
source "$here/../debs.sh"
# shellcheck source=../once.sh
source "$here/../once.sh"
# shellcheck source=../licenses.sh
source "$here/../licenses.sh"

# packages prints conmon, the packages of its libraries, those that runc is linked
# with, and the texts of licences.
packages() {
    printf '%s\n' conmon libc6 libcap2 libgcrypt20 libglib2.0-0 libgpg-error0 liblz4-1 liblzma5 libpcre2-8-0 libsystemd0 libzstd1 libseccomp-dev base-files
}

stamp() {
    cat "$here"/{go.mod,go.sum,NOTICE,build.sh} "$here"/../{debs,licenses}.sh <(packages) | sha256sum | cut -d' ' -f1
}

# Where the programs are on the host. conmon names its loader by this path: a
# program can't say "the loader beside me".
host_dir=/opt/stormcell/$(stamp | cut -c1-12)

# build_runc builds as "make static" of runc does, but for libpathrs, a library
# in Rust that Debian 12 does not have. Go's cache takes what pkg-config says for
# the same everywhere; so it is the CGO flags that tell where this build's
# libseccomp is.
build_runc() {
    local arch=$1 debs=$2 to=$3 triplet=${triplets[$1]}
    PKG_CONFIG_LIBDIR=$debs/usr/lib/$triplet/pkgconfig \
        CGO_CFLAGS="-O2 -I$debs/usr/include" CGO_LDFLAGS="-O2 -L$debs/usr/lib/$triplet" \
        CC=$triplet-gcc CGO_ENABLED=1 GOOS=linux GOARCH=$arch \
        go build -C "$here" -trimpath -buildvcs=false -buildmode=pie \
        -tags 'seccomp urfave_cli_no_docs netgo osusergo' \
        -ldflags '-s -w -buildid= -linkmode external -extldflags -static-pie' \
        -o "$to/runc" github.com/opencontainers/runc
}

# needed prints the names of the libraries that a file is linked with.
needed() { readelf --dynamic "$1" | sed -nE 's/.*\(NEEDED\).*\[(.*)\]/\1/p'; }

# bring_conmon copies Debian's conmon and, from file to file, the libraries.
bring_conmon() {
    local debs=$1 to=$2 triplet=$3 queue=(conmon) name library loader
    install -D "$debs/usr/bin/conmon" "$to/conmon"
    loader=$(patchelf --print-interpreter "$to/conmon")
    while ((${#queue[@]} > 0)); do
        mapfile -t libraries < <(needed "$to/${queue[0]}")
        queue=("${queue[@]:1}")
        for name in "${libraries[@]}"; do
            [[ ! -e $to/$name ]] || continue
            library=$(find "$debs/lib/$triplet" "$debs/usr/lib/$triplet" -maxdepth 1 -name "$name" -print -quit)
            [[ -n $library ]] || { echo "conmon needs $name, which is in none of the packages that ${BASH_SOURCE[0]} lists" >&2 && return 1; }
            install "$library" "$to/$name"
            queue+=("$name")
        done
    done
    # The loader first looks where the file says, and not at the host's libraries.
    for name in "$to"/*; do
        [[ ${name##*/} == "${loader##*/}" || ${name##*/} == libc.so.* ]] || patchelf --set-rpath "$host_dir" "$name"
    done
    patchelf --set-interpreter "$host_dir/${loader##*/}" "$to/conmon"
}

# build fills one tree for each architecture.
build() {
    local parts=$1 arch debs to
    for arch in "${!triplets[@]}"; do
        debs=$parts/.debs/$arch to=$parts/$arch
        echo "conmon and runc for $arch are fetched and built, once: about a minute on 2 cores." >&2
        unpack_debs "$debs" packages "$arch"
        mkdir -p "$to$host_dir" "$to/licenses/debian"
        bring_conmon "$debs" "$to$host_dir" "${triplets[$arch]}"
        build_runc "$arch" "$debs" "$to$host_dir"
        GOFLAGS=-tags=seccomp GOARCH=$arch CGO_ENABLED=1 go_licenses "$here" "$to/licenses" github.com/opencontainers/runc
        debian_licenses "$debs" "$to/licenses/debian"
        cp "$here/NOTICE" "$to/licenses/"
    done
}

once "$out" "$(stamp)" build
