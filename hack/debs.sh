# shellcheck shell=bash
# For scripts that use programs of Debian's packages and do not install them:
# source this file.

# unpack_debs DIR NAMES [ARCHITECTURE] fetches packages, as apt's lists have them
# and of its archives' signatures, and unpacks them into a directory, once. NAMES
# is a function that prints their names, for they may depend on apt's lists. For
# an architecture apt gets lists of its own, which stay beside the directory.
unpack_debs() {
    local to=$1 names=$2 work log apt=(apt-get --quiet -o APT::Sandbox::User=root)
    [[ ! -e $to/.unpacked ]] || return 0
    if ! command -v apt-get dpkg-deb >/dev/null; then
        echo "${to##*/} is taken from Debian's packages: this machine has no apt-get" >&2
        return 1
    fi
    mkdir -p "${to%/*}"
    if [[ -n ${3:-} ]]; then
        mkdir -p "$to.apt/lists/partial"
        apt+=(-o "APT::Architecture=$3" -o "APT::Architectures=$3" -o "Dir::State=$to.apt" -o Dir::State::status=/dev/null -o "Dir::Cache=$to.apt")
    fi
    work=$(mktemp -d "$to.XXXXXX")
    log=$work/apt.log
    if ! download_debs "$work" "$names" >"$log" 2>&1 && ! { "${apt[@]}" update && download_debs "$work" "$names"; } >>"$log" 2>&1; then
        tail -n 15 "$log" >&2
        rm -rf "$work"
        echo "cannot fetch the packages of ${to##*/}: see apt-get's words above" >&2
        return 1
    fi
    for package in "$work"/*.deb; do
        dpkg-deb --extract "$package" "$work"
    done
    # What is there, with its versions.
    (cd "$work" && ls -- *.deb) >"$work/.unpacked"
    rm "$work"/*.deb
    rm -rf "$to"
    chmod 755 "$work"
    mv "$work" "$to"
}

# download_debs fetches into a directory. Without unpack_debs's option apt-get
# would complain that its own user cannot write there.
download_debs() {
    local packages
    mapfile -t packages < <("$2")
    ((${#packages[@]} > 0)) && (cd "$1" && "${apt[@]}" download "${packages[@]}")
}
