# shellcheck shell=bash
# Where the demo keeps its images: a directory of this machine (STORE=file), or
# an HDFS that it starts for itself (STORE=hdfs), for demo.sh to source. It reads
# the variables here and dir of demo.sh.
# shellcheck disable=SC2154

store=${STORE:-file}

check_store() {
    if [[ $store != file && $store != hdfs ]]; then
        echo "STORE=$store: the demo's store is file or hdfs" >&2
        return 1
    fi
}

# prepare_store starts what the store needs. Whoever comes to the store later is
# started with the configuration of HDFS.
prepare_store() {
    [[ $store == hdfs ]] || return 0
    step "Fetch Apache Hadoop" "$here/hdfs/build.sh"
    step "Start HDFS on loopback: a NameNode, three DataNodes" "$here/hdfs.sh" up "$dir/hdfs"
    export HADOOP_CONF_DIR=$dir/hdfs/conf
}

store_url() {
    case $store in
    file) echo "file://$dir/store" ;;
    hdfs) echo "$("$here/hdfs.sh" url "$dir/hdfs")/containers" ;;
    esac
}

# show_store shows that the store is one for Hadoop, too: its own client lists it.
show_store() {
    [[ $store == hdfs ]] || return 0
    step "List the store with Hadoop's own client" list_store
    echo
    echo "        hdfs dfs -ls -R $(store_url):"
    show <"$dir/listing"
    echo
}

# The listing has whole digests, of which twelve letters say enough.
list_store() {
    "$here/hdfs.sh" dfs "$dir/hdfs" -ls -R /containers | sed -E 's/([0-9a-f]{12})[0-9a-f]{52}/\1…/' >"$dir/listing"
    grep -q /containers/layers/ "$dir/listing"
}

remove_store() {
    [[ ! -d $dir/hdfs ]] || "$here/hdfs.sh" down "$dir/hdfs"
}

# store_client prints how to look into the store, where ls does not.
store_client() {
    [[ $store != hdfs ]] || printf '; to list them: %s dfs %s -ls -R /containers' "$here/hdfs.sh" "$dir/hdfs"
}
