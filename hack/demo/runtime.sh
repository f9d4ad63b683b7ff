# shellcheck shell=bash
# What runs the demo's worker: runc from squashfs layers (RUNTIME=runc), or a
# Docker that the demo starts for itself (RUNTIME=docker), for demo.sh to source.
# It reads the variables here, dir, repo and image of demo.sh, and store of store.sh.
# shellcheck disable=SC2154

runtime=${RUNTIME:-runc}

check_runtime() {
    if [[ $runtime != runc && $runtime != docker ]]; then
        echo "RUNTIME=$runtime: the demo's runtime is runc or docker" >&2
        return 1
    fi
}

docker() { "$repo/bin/docker/usr/bin/docker" --host "unix://$dir/docker/docker.sock" "$@"; }

# Docker's containers are counted, too.
containers() { docker ps --all --quiet 2>/dev/null || true; }
[[ $runtime != docker ]] || kinds+=(containers)

prepare_runtime() {
    [[ $runtime == docker ]] || return 0
    step "Start Docker and a registry on loopback" "$here/docker.sh" up "$dir/docker"
    image=$(<"$dir/docker/registry.address")/$image
}

# runtime_keys prints the keys of storm.yaml that turn Docker on, as the runtime of
# workers that name none.
runtime_keys() {
    [[ $runtime == docker ]] || return 0
    cat <<TEXT
storm.resource.isolation.plugin: "org.apache.storm.container.docker.DockerManager"
stormcell.docker.allowed.images: ["$image"]
stormcell.docker.enable: true
stormcell.docker.host: "unix://$dir/docker/docker.sock"
TEXT
}

# provide_image brings the image to where nodes find it.
provide_image() {
    if [[ $runtime == docker ]]; then
        step "Push the image to the registry" push
        return
    fi
    step "Convert the image to squashfs layers in a $store:// store" convert
    show_store
}

push() {
    local source
    source=$(source_image)
    [[ $source == *:/* ]] || source=docker://$source
    skopeo copy --quiet --dest-tls-verify=false "$source" "docker://$image"
}

# log_text prints the text of the worker's log. The lines of conmon's are "<time>
# <stream> <F or P> <text>"; P is a part of a line that goes on.
log_text() {
    if [[ $runtime == docker ]]; then
        docker logs "$(container_name)" 2>/dev/null || true
    else
        awk '{ text = $0; sub(/^[^ ]+ [^ ]+ [FP] /, "", text); printf "%s%s", text, $3 == "P" ? "" : "\n" }' "$dir/logs/$(worker_field containerID)/0.log" 2>/dev/null || true
    fi
}

# container_name is the worker's id: the container's id without the port.
container_name() {
    local id
    id=$(worker_field containerID)
    printf '%s' "${id#*-}"
}

remove_runtime() {
    [[ ! -d $dir/docker ]] || "$here/docker.sh" down "$dir/docker"
}
