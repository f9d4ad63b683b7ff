# shellcheck shell=bash
# The configuration of the demo's daemons, for demo.sh to source: what a Storm
# operator has in storm.yaml and worker-launcher.cfg, with every path below the
# demo's directory. It reads the variables of demo.sh.
# shellcheck disable=SC2154

write_storm_yaml() {
    cat >"$dir/storm.yaml" <<TEXT
storm.local.dir: "$dir/storm-local"
storm.workers.artifacts.dir: "$dir/artifacts"
storm.oci.allowed.images: ["$image"]
storm.oci.image: "$image"
storm.oci.image.hdfs.toplevel.dir: "$(store_url)"
storm.oci.resources.local.dir: "$dir/cache"
storm.oci.cgroup.parent: "$cgroup"
storm.cgroup.memory.enforcement.enable: true
# Layers are unmounted with their last worker, so that nothing is left to see.
storm.oci.layer.mounts.to.keep: 0
stormcell.run.root: "$dir/run"
stormcell.log.dir: "$dir/logs"
TEXT
    runtime_keys >>"$dir/storm.yaml"
}

write_launcher_cfg() {
    cat >"$dir/worker-launcher.cfg" <<TEXT
min.user.id=1000
banned.users=bin
worker.launcher.oci.runc=$(command -v runc)
worker.launcher.oci.run-root=$dir/run
TEXT
}

# node_object prints the Node that kubelet would make.
node_object() {
    cat <<TEXT
apiVersion: v1
kind: Node
metadata:
  name: $node
  labels: {kubernetes.io/hostname: $node, kubernetes.io/os: linux}
TEXT
}

# node_status prints what kubelet would report of the node.
node_status() {
    local now
    now=$(date -u +%FT%TZ)
    printf '{"status": {"addresses": [{"type": "InternalIP", "address": "127.0.0.1"}], "conditions": [{"type": "Ready", "status": "True", "reason": "Demo", "message": "made by hand: the demo has no kubelet", "lastHeartbeatTime": "%s", "lastTransitionTime": "%s"}]}}' "$now" "$now"
}
