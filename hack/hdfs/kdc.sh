# shellcheck shell=bash
# A Kerberos realm of its own for a secure HDFS, for hdfs.sh to source. It reads
# the variables of hdfs.sh.
# shellcheck disable=SC2034,SC2154
realm=STORMCELL.TEST
