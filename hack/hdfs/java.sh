# shellcheck shell=bash
# Hadoop's daemons and its client as Java programs, for hdfs.sh to source. It
# reads the variables dir, hadoop and secure of hdfs.sh.
# shellcheck disable=SC2154

# set_jvm sets how every JVM is started. The configuration comes after the jars,
# because class data is shared only of jars that come first.
set_jvm() {
    jvm=(java -XX:+UseSerialGC -Xlog:disable -Xlog:all=error:stderr
        -cp "$(printf '%s:' "$hadoop"/jars/*.jar)$dir/conf"
        -Djava.net.preferIPv4Stack=true -Djava.io.tmpdir="$dir/tmp")
    [[ ! -f $hadoop/classes.jsa ]] || jvm+=(-XX:SharedArchiveFile="$hadoop/classes.jsa")
    [[ -z $secure ]] || jvm+=(-Djava.security.krb5.conf="$dir/krb5.conf")
    # build.sh learns so which classes programs load; %p is the pid.
    [[ -z ${CLASS_LISTS:-} ]] || jvm+=(-XX:DumpLoadedClassList="$CLASS_LISTS/%p")
    # Eight daemons on two cores must start fast and stay small; no code of theirs
    # is so hot that the better compiler would pay.
    daemon_jvm=("${jvm[@]}" -XX:TieredStopAtLevel=1 -Xmx192m -Xss512k -Dstormcell.log.level=INFO)
}

main_class() {
    case $1 in
    namenode*) echo org.apache.hadoop.hdfs.server.namenode.NameNode ;;
    datanode*) echo org.apache.hadoop.hdfs.server.datanode.DataNode ;;
    journalnode*) echo org.apache.hadoop.hdfs.qjournal.server.JournalNode ;;
    dfs) echo org.apache.hadoop.fs.FsShell ;;
    dfsadmin) echo org.apache.hadoop.hdfs.tools.DFSAdmin ;;
    haadmin) echo org.apache.hadoop.hdfs.tools.DFSHAAdmin ;;
    fsck) echo org.apache.hadoop.hdfs.tools.DFSck ;;
    *)
        echo "$1: use dfs, dfsadmin, haadmin or fsck" >&2
        return 2
        ;;
    esac
}

# daemon_command NAME sets the array command to what starts a daemon.
# shellcheck disable=SC2034 # it is for hdfs.sh
daemon_command() {
    local class
    class=$(main_class "$1")
    settings "$1"
    command=("${daemon_jvm[@]}" "$class" "${own[@]}")
}

# hdfs TOOL ARGS... is Hadoop's program "hdfs", as HDFS_USER.
hdfs() {
    local class
    class=$(main_class "$1")
    shift
    (
        if [[ -n $secure ]]; then
            KRB5CCNAME=$(ticket_of "${HDFS_USER:-hdfs}")
            export KRB5CCNAME
        elif [[ -n ${HDFS_USER:-} ]]; then
            export HADOOP_USER_NAME=$HDFS_USER
        fi
        exec "${jvm[@]}" "$class" "$@"
    )
}
