# shellcheck shell=bash
# An image of one static program, for scripts to source.

# program_image FILE NAME PROGRAM writes an OCI archive: an image of that name,
# whose command is the program, at /.
program_image() {
    local file=$1 name=$2 program=$3 work
    work=$(mktemp -d)
    mkdir "$work/root"
    cp "$program" "$work/root/"
    umoci init --layout "$work/layout"
    umoci new --image "$work/layout:latest"
    umoci insert --image "$work/layout:latest" "$work/root" / 2>/dev/null
    umoci config --image "$work/layout:latest" --config.entrypoint "/${program##*/}"
    # ctr takes an image's name from here; umoci would refuse it as a tag.
    sed -i "s|\"org.opencontainers.image.ref.name\":\"latest\"|\"org.opencontainers.image.ref.name\":\"$name\"|" "$work/layout/index.json"
    tar -C "$work/layout" -cf "$file" .
    rm -rf "$work"
}
