# shellcheck shell=bash
# A Kerberos realm of its own for a secure HDFS, by MIT's KDC, for hdfs.sh to
# source. It reads the variables of hdfs.sh.
# shellcheck disable=SC2154

realm=STORMCELL.TEST
# The users of the realm. hdfs is HDFS's superuser; nobody owns nothing there.
users=(hdfs storm nobody)

# make_realm writes the realm below DIR: its database, and a keytab for each
# user. The one of hdfs has the daemons' keys, too.
make_realm() {
    local name life
    write_krb5_conf
    mkdir -p "$dir/kdc" "$dir/keytabs"
    kerberos kdb5_util create -s -P "$(openssl rand -hex 16)" >"$dir/kdc.log" 2>&1
    {
        for name in hdfs HTTP; do
            echo "addprinc -randkey $name/$host"
            echo "ktadd -k $dir/keytabs/hdfs.keytab $name/$host"
        done
        for name in "${users[@]}"; do
            life=$ticket_life
            # The daemons and the superuser must not die of a short life.
            [[ $name != hdfs ]] || life=10h
            echo "addprinc -randkey -maxlife $life $name"
            echo "ktadd -k $dir/keytabs/$name.keytab $name"
        done
    } | kerberos kadmin.local >>"$dir/kdc.log" 2>&1
    make_certificate
}

write_krb5_conf() {
    cat >"$dir/krb5.conf" <<TEXT
[libdefaults]
  default_realm = $realm
  dns_lookup_kdc = false
  dns_lookup_realm = false
  dns_canonicalize_hostname = false
  rdns = false
  ticket_lifetime = 10h
  udp_preference_limit = 1
  kdc_timeout = 5000
[realms]
  $realm = {
    kdc = 127.0.0.1:$(port kdc kdc)
  }
TEXT
    cat >"$dir/kdc.conf" <<TEXT
[kdcdefaults]
  kdc_listen = 127.0.0.1:$(port kdc kdc)
  kdc_tcp_listen = 127.0.0.1:$(port kdc kdc)
[realms]
  $realm = {
    database_name = $dir/kdc/principal
    key_stash_file = $dir/kdc/stash
    acl_file = $dir/kdc/acl
    max_life = 10h
    supported_enctypes = aes256-cts-hmac-sha1-96:normal aes128-cts-hmac-sha1-96:normal
  }
TEXT
}

# kerberos runs a program of MIT Kerberos in this realm.
kerberos() { KRB5_CONFIG=$dir/krb5.conf KRB5_KDC_PROFILE=$dir/kdc.conf "$@"; }

start_kdc() {
    # A daemon that starts before the KDC listens would give up.
    kerberos daemon_start "$dir" kdc krb5kdc -n -P "$dir/kdc/pid"
    await_daemons "$dir" kdc kdc_listens
}

kdc_listens() { ! port_free "$(port kdc kdc)"; }

# make_certificate makes what DataNodes want for HTTPS.
make_certificate() {
    local password
    password=$(openssl rand -hex 16)
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "/CN=$host" -days 365 \
        -keyout "$dir/kdc/tls.key" -out "$dir/kdc/tls.crt" 2>/dev/null
    openssl pkcs12 -export -passout "pass:$password" -out "$dir/kdc/tls.p12" \
        -inkey "$dir/kdc/tls.key" -in "$dir/kdc/tls.crt"
    xml ssl.server.keystore.type pkcs12 ssl.server.keystore.location "$dir/kdc/tls.p12" \
        ssl.server.keystore.password "$password" ssl.server.keystore.keypassword "$password" \
        >"$dir/conf/ssl-server.xml"
}

# ticket_of USER logs a user in and prints the ticket cache. One without keytab
# gets the name of a cache that is not there.
ticket_of() {
    local cache=$dir/ccache.$1
    if [[ -f $dir/keytabs/$1.keytab ]]; then
        # Two at once must not read half a cache.
        KRB5_CONFIG=$dir/krb5.conf kinit -k -t "$dir/keytabs/$1.keytab" -c "$cache.$BASHPID" "$1"
        mv "$cache.$BASHPID" "$cache"
    fi
    echo "$cache"
}
