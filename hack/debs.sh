# shellcheck shell=bash
# For scripts that use programs of Debian's packages and do not install them:
# source this file.

# unpack_debs DIR NAMES fetches packages, as apt's lists have them and of its
# archives' signatures, and unpacks them into a directory, once. NAMES is a
# function that prints their names, for they may depend on apt's lists.
unpack_debs() {
    local to=$1 names=$2 work log
    [[ ! -e $to/.unpacked ]] || return 0
    if ! command -v apt-get dpkg-deb >/dev/null; then
        echo "${to##*/} is taken from Debian's packages: this machine has no apt-get" >&2
        return 1
    fi
    mkdir -p "${to%/*}"
    work=$(mktemp -d "$to.XXXXXX")
    log=$work/apt.log
    if ! download_debs "$work" "$names" >"$log" 2>&1 && ! { apt-get update && download_debs "$work" "$names"; } >>"$log" 2>&1; then
        tail -n 15 "$log" >&2
        rm -rf "$work"
        echo "cannot fetch the packages of ${to##*/}: see apt-get's words above" >&2
        return 1
    fi
    for package in "$work"/*.deb; do
        dpkg-deb --extract "$package" "$work"
    done
    rm "$work"/*.deb
    touch "$work/.unpacked"
    rm -rf "$to"
    chmod 755 "$work"
    mv "$work" "$to"
}

# download_debs fetches into a directory. Without the option apt-get would
# complain that its own user cannot write there.
download_debs() {
    local packages
    mapfile -t packages < <("$2")
    ((${#packages[@]} > 0)) && (cd "$1" && apt-get download --quiet -o APT::Sandbox::User=root "${packages[@]}")
}
