#!/usr/bin/env bash
# A throw-away HDFS of Apache Hadoop's own daemons on loopback, everything of it
# below one directory. For tests, for the demo and for trying things; not for
# data that matters.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: hack/hdfs.sh up DIR [OPTION...]         start it; DIR/conf is the HADOOP_CONF_DIR of clients
       hack/hdfs.sh down DIR                   stop it and remove its files
       hack/hdfs.sh status DIR                 say what runs
       hack/hdfs.sh url DIR                    print hdfs://HOST:PORT, or hdfs://stormcell with --ha
       hack/hdfs.sh dfs DIR ARGS...            "hdfs dfs ARGS...", the Java client, as HDFS_USER
       hack/hdfs.sh admin DIR TOOL ARGS...     "hdfs TOOL ARGS...": dfsadmin, haadmin, fsck
       hack/hdfs.sh await DIR                  wait until it serves
       hack/hdfs.sh failover DIR               make the other NameNode the active one
       hack/hdfs.sh start DIR NAME             start one daemon: namenode1, namenode2, datanode1 to
                                               datanode3, journalnode1 to journalnode3, kdc
       hack/hdfs.sh stop DIR NAME [SIGNAL]     end one daemon (TERM)
       hack/hdfs.sh signal DIR NAME SIGNAL     send a signal, STOP for example, and wait for nothing
options:
       --ha                  two NameNodes, one of them active, and three JournalNodes, as the name
                             service "stormcell"; otherwise one NameNode
       --secure              Kerberos of a KDC of its own: see DIR/krb5.conf and DIR/keytabs/USER.keytab
       --protection LEVEL    with --secure, of RPC and data: authentication, integrity or privacy
       --ticket-life TIME    with --secure, of the tickets of users (10h), "60s" for example
environment:
       HDFS_USER=USER        who "dfs" is; without it the superuser, who may do all. With --secure,
                             hdfs (the superuser), storm and nobody have tickets
TEXT
}

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
hadoop=$(cd "$here/.." && pwd)/bin/hadoop
# shellcheck source=daemons.sh
source "$here/daemons.sh"
# shellcheck source=hdfs/config.sh
source "$here/hdfs/config.sh"
# shellcheck source=hdfs/java.sh
source "$here/hdfs/java.sh"
# shellcheck source=hdfs/kdc.sh
source "$here/hdfs/kdc.sh"

# load reads what "up" was told, and sets the daemons that there are.
load() {
    namenodes=(namenode1) journalnodes=() host=127.0.0.1
    datanodes=(datanode1 datanode2 datanode3)
    ha='' secure='' protection=authentication ticket_life=10h base=''
    # shellcheck source=/dev/null
    [[ ! -f $dir/options ]] || source "$dir/options"
    arrange
}

arrange() {
    if [[ -n $ha ]]; then
        namenodes=(namenode1 namenode2)
        journalnodes=(journalnode1 journalnode2 journalnode3)
    fi
    # Kerberos names services by host, and an address has no name.
    [[ -z $secure ]] || host=localhost
    daemons=(${secure:+kdc} "${journalnodes[@]}" "${namenodes[@]}" "${datanodes[@]}")
    set_jvm
}

parse_options() {
    ha='' secure='' protection=authentication ticket_life=10h
    while (($#)); do
        case $1 in
        --ha) ha=yes ;;
        --secure) secure=yes ;;
        --protection) protection=${2:?--protection needs a level} && shift ;;
        --ticket-life) ticket_life=${2:?--ticket-life needs a time} && shift ;;
        *)
            echo "unknown option $1" >&2
            usage >&2
            return 2
            ;;
        esac
        shift
    done
    if [[ ! $protection =~ ^(authentication|integrity|privacy)$ || ! $ticket_life =~ ^[0-9]+[smhd]$ ]]; then
        echo "--protection $protection --ticket-life $ticket_life: see the usage" >&2
        return 2
    fi
    options="ha=$ha secure=$secure protection=$protection ticket_life=$ticket_life"
}

# ---- daemons

# start_daemon starts one daemon that has its files already.
start_daemon() {
    local name=$1
    ! daemon_pid "$dir" "$name" >/dev/null || return 0
    case $name in
    kdc) start_kdc ;;
    *)
        daemon_command "$name"
        daemon_start "$dir" "$name" "${command[@]}"
        ;;
    esac
}

known() {
    if [[ " ${daemons[*]} " != *" $1 "* ]]; then
        echo "$1: the daemons of $dir are ${daemons[*]}" >&2
        return 2
    fi
}

# ---- states

# jmx BEAN NAMENODE prints a bean of a NameNode, without the second that a Java
# client takes to start. A late answer is an answer: only a NameNode that cannot
# answer, because it does not run or a signal has stopped it, is not waited for.
jmx() {
    local port
    daemon_awake "$dir" "$2" || return 1
    port=$(port "$2" http)
    {
        exec 3<>"/dev/tcp/127.0.0.1/$port" || return 1
        printf 'GET /jmx?qry=Hadoop:service=NameNode,name=%s HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n' "$1" >&3
        timeout "$patience" cat <&3
        exec 3>&-
    } 2>/dev/null
}

# bean_value BEAN NAMENODE KEY
bean_value() { jmx "$1" "$2" | sed -nE "s/^ *\"$3\" : \"?([^\",]*)\"?,?\r?$/\1/p"; }

has_state() { [[ $(bean_value NameNodeStatus "$1" State) == "$2" ]]; }

# namenode_in STATE prints the NameNode that is active or standby.
namenode_in() {
    local name
    for name in "${namenodes[@]}"; do
        if has_state "$name" "$1"; then
            echo "$name"
            return
        fi
    done
    return 1
}

# serves tells whether HDFS takes reads and writes: an active NameNode out of
# safe mode, which knows every DataNode that runs.
serves() {
    local name facts running=0
    name=$(namenode_in active) || return 1
    for facts in "${datanodes[@]}"; do
        ! daemon_pid "$dir" "$facts" >/dev/null || running=$((running + 1))
    done
    facts=$(jmx FSNamesystemState "$name")
    [[ $facts == *'"FSState" : "Operational"'* && $facts == *"\"NumLiveDataNodes\" : $running,"* ]]
}

all_run() {
    local name
    for name in "${daemons[@]}"; do
        daemon_pid "$dir" "$name" >/dev/null || return 1
    done
}

ready() { all_run && serves; }

# await_hdfs COMMAND... waits until COMMAND succeeds, as long as daemons run.
await_hdfs() { await_daemons "$dir" "${daemons[*]}" "$@"; }

# ---- verbs

up() {
    local wanted
    parse_options "$@"
    wanted=$options
    if [[ -f $dir/options && $(grep -v '^base=' "$dir/options") == "$wanted" ]]; then
        load
        # One that has just been started is not ready yet.
        ! { all_run && await_hdfs ready; } || return 0
    fi
    if [[ ! -d $hadoop/jars ]]; then
        echo "there is no Hadoop in $hadoop: make hadoop fetches it" >&2
        return 1
    fi
    down
    mkdir -p "$dir"
    parse_options "$@"
    arrange
    claim_ports
    base=$first_port
    printf '%s\nbase=%s\n' "$wanted" "$base" >"$dir/options"
    write_conf
    [[ -z $secure ]] || make_realm
    if ! launch; then
        explain
        return 1
    fi
}

# launch starts all side by side, and waits until HDFS serves. DataNodes wait for
# the NameNode by themselves, JournalNodes are needed before a NameNode can format.
launch() {
    local name
    for name in ${secure:+kdc} "${journalnodes[@]}" "${datanodes[@]}"; do
        start_daemon "$name" || return
    done
    format || return
    for name in "${namenodes[@]}"; do
        start_daemon "$name"
    done
    if [[ -n $ha ]]; then
        await_hdfs has_state namenode1 standby || return
        hdfs haadmin -transitionToActive nn1 || return
    fi
    await_hdfs ready
}

# format makes the namespace. The second NameNode starts with a copy of it, as
# -bootstrapStandby makes one.
format() {
    daemon_command namenode1
    "${command[@]}" -format -nonInteractive >>"$dir/format.log" 2>&1 || return
    [[ -z $ha ]] || cp -R "$dir/namenode1" "$dir/namenode2"
}

explain() {
    local name
    for name in format "${daemons[@]}"; do
        [[ -s $dir/$name.log ]] || continue
        printf '\nthe last lines of %s:\n' "$dir/$name.log"
        tail -n 8 "$dir/$name.log"
    done >&2
    echo "HDFS in $dir does not serve: $(list_daemons | tr '\n' ';')" >&2
}

# down does not wait for one daemon after the other: nothing here is kept.
down() {
    local name
    for name in "${datanodes[@]}" "${namenodes[@]}" "${journalnodes[@]}" kdc; do
        daemon_stop "$dir" "$name" KILL
    done
    rm -rf "$dir"/{options,conf,keytabs,krb5.conf,kdc.conf,kdc,tmp,ccache.*,*.log,format.log} \
        "$dir"/{namenode,datanode,journalnode}[1-3]
}

list_daemons() {
    local name pid
    for name in "${daemons[@]}"; do
        pid=$(daemon_pid "$dir" "$name") && echo "$name runs, pid $pid" || echo "$name does not run"
    done
}

status() {
    list_daemons
    if serves; then
        echo "HDFS serves, by $(namenode_in active): export HADOOP_CONF_DIR=$dir/conf"
    else
        echo "HDFS does not serve"
        return 1
    fi
}

await() {
    if ! await_hdfs serves; then
        explain
        return 1
    fi
}

url() { if [[ -n $ha ]]; then echo hdfs://stormcell; else echo "hdfs://$(address namenode1 rpc)"; fi; }

dfs() { hdfs dfs "$@"; }

admin() { HDFS_USER='' hdfs "$@"; }

start() {
    known "$1"
    start_daemon "$1"
}

stop() {
    known "$1"
    daemon_stop "$dir" "$1" "${2:-TERM}"
}

signal() {
    known "$1"
    kill -s "$2" "$(daemon_pid "$dir" "$1")"
}

# failover works also when the active NameNode is gone or hangs; then the other one
# must only be told. A NameNode that has just been started is standby soon.
failover() {
    local from to
    if [[ -z $ha ]] || ! to=$(await_hdfs namenode_in standby); then
        echo "no NameNode of $dir is standby" >&2
        return 1
    fi
    if from=$(namenode_in active); then
        admin haadmin -failover "nn${from#namenode}" "nn${to#namenode}"
    else
        # By force, because haadmin would first ask the one that does not answer.
        admin haadmin -transitionToActive --forceactive "nn${to#namenode}"
    fi
    await_hdfs has_state "$to" active
}

main() {
    if (($# < 2)) || [[ $2 != /* ]]; then
        usage >&2
        return 2
    fi
    local verb=$1
    dir=$2
    shift 2
    umask 077
    load
    case $verb in
    up | down | status | await | url | dfs | admin | start | stop | signal | failover) "$verb" "$@" ;;
    *)
        usage >&2
        return 2
        ;;
    esac
}

main "$@"
