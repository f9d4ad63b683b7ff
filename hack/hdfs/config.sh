# shellcheck shell=bash
# The configuration of HDFS and its clients, for hdfs.sh to source. It reads the
# variables of hdfs.sh.
# shellcheck disable=SC2154

# port NAME KIND prints a port of a daemon, of the block that base begins.
port() {
    local number=${1: -1} offset
    case $1:$2 in
    namenode?:rpc) offset=$((number * 2 - 2)) ;;
    namenode?:http) offset=$((number * 2 - 1)) ;;
    datanode?:data) offset=$((number * 3 + 1)) ;;
    datanode?:ipc) offset=$((number * 3 + 2)) ;;
    datanode?:http) offset=$((number * 3 + 3)) ;;
    journalnode?:rpc) offset=$((number * 2 + 11)) ;;
    journalnode?:http) offset=$((number * 2 + 12)) ;;
    kdc:kdc) offset=19 ;;
    esac
    echo $((base + offset))
}

# address NAME KIND prints a port with the host before it.
address() { echo "$host:$(port "$@")"; }

# xml NAME VALUE... prints a Hadoop configuration of these pairs.
xml() {
    echo '<?xml version="1.0"?>'
    echo '<configuration>'
    while (($#)); do
        printf '  <property><name>%s</name><value>%s</value></property>\n' "$1" "$2"
        shift 2
    done
    echo '</configuration>'
}

# write_conf writes DIR/conf, which daemons and clients share.
write_conf() {
    # Hadoop's web servers insist on a directory for pages; its jars have none.
    mkdir -p "$dir/conf/webapps"/{hdfs,datanode,journal} "$dir/tmp"
    local core=() hdfs=()
    common_settings
    if [[ -n $ha ]]; then
        ha_settings
    else
        single_settings
    fi
    [[ -z $secure ]] || secure_settings
    xml "${core[@]}" >"$dir/conf/core-site.xml"
    xml "${hdfs[@]}" >"$dir/conf/hdfs-site.xml"
    cat >"$dir/conf/log4j.properties" <<'TEXT'
log4j.rootLogger=${stormcell.log.level},console
stormcell.log.level=WARN
log4j.appender.console=org.apache.log4j.ConsoleAppender
log4j.appender.console.target=System.err
log4j.appender.console.layout=org.apache.log4j.PatternLayout
log4j.appender.console.layout.ConversionPattern=%d{ISO8601} %p %c{2}: %m%n
# It says that this Hadoop has no libhadoop.so: true, and no news.
log4j.logger.org.apache.hadoop.util.NativeCodeLoader=ERROR
# It prints a stack for what it throws anyway.
log4j.logger.org.apache.hadoop.ipc.Client=ERROR
TEXT
}

common_settings() {
    core+=(
        fs.defaultFS "$(url)"
        hadoop.tmp.dir "$dir/tmp"
        # Users need not be known to this machine.
        hadoop.security.group.mapping org.apache.hadoop.security.NullGroupsMapping
        # A daemon that starts before its partner finds it soon.
        ipc.client.connect.retry.interval 100
        ipc.client.connect.max.retries 100
        ipc.client.connect.timeout 5000
        # "df" for all of the disk instead of "du" for each directory.
        fs.getspaceused.classname org.apache.hadoop.fs.DFCachingGetSpaceUsed
    )
    hdfs+=(
        dfs.replication 3
        dfs.permissions.enabled true
        # Small blocks, so that files of tests have many.
        dfs.blocksize 8388608
        dfs.namenode.fs-limits.min-block-size 4096
        dfs.namenode.safemode.extension 0
        # A DataNode that is gone is stale after 3 s and dead after 12 s.
        dfs.heartbeat.interval 1
        dfs.namenode.stale.datanode.interval 3000
        dfs.namenode.heartbeat.recheck-interval 1000
        dfs.namenode.redundancy.interval.seconds 1
        # With three DataNodes, each file is on each of them, however busy one is.
        dfs.namenode.redundancy.considerLoad false
        dfs.datanode.hostname localhost
        dfs.namenode.datanode.registration.ip-hostname-check false
        dfs.namenode.edits.noeditlogchannelflush true
        dfs.namenode.handler.count 10
        dfs.http.policy HTTP_ONLY
    )
}

single_settings() {
    hdfs+=(
        dfs.namenode.rpc-address "$(address namenode1 rpc)"
        dfs.namenode.http-address "$(address namenode1 http)"
    )
}

ha_settings() {
    local name journals=()
    for name in "${journalnodes[@]}"; do
        journals+=("$(address "$name" rpc)")
    done
    # A NameNode that answers haadmin late on a busy machine is no failed one.
    core+=(
        ha.failover-controller.cli-check.rpc-timeout.ms 120000
        ha.failover-controller.graceful-fence.rpc-timeout.ms 120000
        ha.failover-controller.new-active.rpc-timeout.ms 120000
    )
    hdfs+=(
        dfs.nameservices stormcell
        dfs.ha.namenodes.stormcell 'nn1,nn2'
        dfs.client.failover.proxy.provider.stormcell
        org.apache.hadoop.hdfs.server.namenode.ha.ConfiguredFailoverProxyProvider
        dfs.namenode.shared.edits.dir "qjournal://$(IFS=';' && echo "${journals[*]}")/stormcell"
        # Two NameNodes that think that they are active cannot write both: the
        # JournalNodes see to that.
        dfs.ha.fencing.methods 'shell(/bin/true)'
        dfs.ha.tail-edits.period 1s
        # A NameNode ends itself when its journal is slow for 20 s, as it may be
        # on a busy machine of two cores.
        dfs.qjournal.write-txns.timeout.ms 120000
        dfs.qjournal.start-segment.timeout.ms 120000
        dfs.qjournal.finalize-segment.timeout.ms 120000
        dfs.qjournal.prepare-recovery.timeout.ms 120000
        dfs.qjournal.accept-recovery.timeout.ms 120000
        dfs.qjournal.select-input-streams.timeout.ms 120000
        dfs.qjournal.new-epoch.timeout.ms 120000
        dfs.qjournal.get-journal-state.timeout.ms 120000
    )
    for name in "${namenodes[@]}"; do
        hdfs+=(
            "dfs.namenode.rpc-address.stormcell.nn${name: -1}" "$(address "$name" rpc)"
            "dfs.namenode.http-address.stormcell.nn${name: -1}" "$(address "$name" http)"
        )
    done
}

secure_settings() {
    local kind
    core+=(
        hadoop.security.authentication kerberos
        hadoop.security.authorization true
        hadoop.rpc.protection "$protection"
    )
    hdfs+=(
        dfs.block.access.token.enable true
        dfs.data.transfer.protection "$protection"
        dfs.web.authentication.kerberos.principal HTTP/_HOST@"$realm"
        dfs.web.authentication.kerberos.keytab "$dir/keytabs/hdfs.keytab"
        dfs.journalnode.kerberos.internal.spnego.principal HTTP/_HOST@"$realm"
    )
    for kind in namenode datanode journalnode; do
        hdfs+=(
            "dfs.$kind.kerberos.principal" "hdfs/_HOST@$realm"
            "dfs.$kind.keytab.file" "$dir/keytabs/hdfs.keytab"
        )
    done
}

# settings NAME sets the array own: what a daemon has for itself.
settings() {
    own=()
    case $1 in
    namenode*)
        own=(-D "dfs.namenode.name.dir=file://$dir/$1")
        [[ -z $ha ]] || own+=(-D "dfs.ha.namenode.id=nn${1: -1}")
        ;;
    datanode*)
        own=(
            -D "dfs.datanode.data.dir=file://$dir/$1"
            -D "dfs.datanode.address=$(address "$1" data)"
            -D "dfs.datanode.ipc.address=$(address "$1" ipc)"
            -D "dfs.datanode.http.address=$(address "$1" http)"
        )
        # Without ports below 1024, a secure DataNode insists on HTTPS.
        [[ -z $secure ]] || own+=(
            -D dfs.http.policy=HTTPS_ONLY
            -D "dfs.datanode.https.address=$(address "$1" http)"
        )
        # One DataNode of three takes AES, so that clients meet both ciphers.
        [[ $1:$protection != datanode1:privacy ]] || own+=(
            -D dfs.encrypt.data.transfer.cipher.suites=AES/CTR/NoPadding
        )
        ;;
    journalnode*)
        own=(
            -D "dfs.journalnode.edits.dir=$dir/$1"
            -D "dfs.journalnode.rpc-address=$(address "$1" rpc)"
            -D "dfs.journalnode.http-address=$(address "$1" http)"
        )
        ;;
    esac
}
