# shellcheck shell=bash
# Gathers the licences of what images carry, for scripts to source.

# go_licenses MODULE TO PACKAGES... copies the licences of Go, and of all modules
# that go into packages as they are built with the environment's GOOS, GOARCH and
# GOFLAGS. MODULE is the directory of the module to list them from.
go_licenses() {
    local module=$1 to=$2 path dir file
    shift 2
    install -D --mode 644 "$(go env GOROOT)/LICENSE" "$to/go/LICENSE"
    while read -r path dir; do
        for file in "$dir"/{LICEN[CS]E,COPYING,NOTICE}*; do
            [[ ! -f $file ]] || install -D --mode 644 "$file" "$to/$path/${file##*/}"
        done
    done < <(go list -C "$module" -deps -f '{{with .Module}}{{.Path}} {{.Dir}}{{end}}' "$@" | sort -u)
}

# debian_licenses DEBS TO copies the licences of packages that unpack_debs unpacked,
# and their names with versions, by which Debian gives out their sources. One of
# them must be base-files, which has the texts that the others refer to.
debian_licenses() {
    local debs=$1 to=$2 doc
    for doc in "$debs"/usr/share/doc/*/copyright; do
        install -D --mode 644 "$doc" "$to/$(basename "$(dirname "$doc")")/copyright"
    done
    cp -rL "$debs/usr/share/common-licenses" "$to/"
    cp "$debs/.unpacked" "$to/packages"
}
