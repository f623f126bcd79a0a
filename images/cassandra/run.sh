#!/bin/sh
# Runs one Cassandra node, a cluster of its own. Everything comes from the environment, and it writes only below
# CASSANDRA_DATA, so that it runs as any user on a read-only root.
#
#   CASSANDRA_DATA            folder of the tables, the commit log, the settings and temporary files
#   CASSANDRA_LIB             folder of the jars that pom.xml names
#   CASSANDRA_HOST            address that clients are told; for itself it uses the loopback address
#   CASSANDRA_BIND            address that it binds the clients' port to, by default CASSANDRA_HOST
#   CASSANDRA_DATACENTER      name of its data centre, datacenter1 by default; fixed when it first starts
#   CASSANDRA_PORT            port of the clients (CQL)
#   CASSANDRA_STORAGE_PORT    port of other nodes; there are none, but it is opened
#   CASSANDRA_JMX_PORT        port of nodetool, on the loopback address; none when empty
#   CASSANDRA_HEAP            Java heap, as for -Xmx, taken at once
#   CASSANDRA_JAVA_OPTIONS    further options of the Java machine, separated by spaces
#   CASSANDRA_OFF_HEAP        memory for memtables outside the heap, such as 512MiB
#   CASSANDRA_AUTHENTICATION  true: passwords and permissions, beginning with superuser cassandra, password cassandra
#   CASSANDRA_KEYSTORE        PEM file: PKCS #8 key, then its certificate; when given, clients must use TLS
#   CASSANDRA_CLIENT_CA       PEM file of an authority; when given, clients need a certificate of it too
set -eu
umask 077

here=$(cd "$(dirname "$0")" && pwd)
data=${CASSANDRA_DATA:-/var/lib/cassandra}
lib=${CASSANDRA_LIB:-$here/lib}
host=${CASSANDRA_HOST:-127.0.0.1}
bind=${CASSANDRA_BIND:-$host}
port=${CASSANDRA_PORT:-9042}
storage_port=${CASSANDRA_STORAGE_PORT:-7000}
heap=${CASSANDRA_HEAP:-1g}
off_heap=${CASSANDRA_OFF_HEAP:-512MiB}
java=${JAVA_HOME:+$JAVA_HOME/bin/}java

mkdir -p "$data/tmp"
settings=$data/cassandra.yaml

if [ "${CASSANDRA_AUTHENTICATION:-false}" = true ]; then
    authenticator=PasswordAuthenticator authorizer=CassandraAuthorizer
else
    authenticator=AllowAllAuthenticator authorizer=AllowAllAuthorizer
fi

cat >"$settings" <<EOF
cluster_name: sensor-etl
storage_compatibility_mode: NONE
partitioner: org.apache.cassandra.dht.Murmur3Partitioner
num_tokens: 1
initial_token: '0'
endpoint_snitch: GossipingPropertyFileSnitch
seed_provider:
  - class_name: org.apache.cassandra.locator.SimpleSeedProvider
    parameters:
      - seeds: '127.0.0.1:$storage_port'
listen_address: 127.0.0.1
rpc_address: $bind
broadcast_rpc_address: $host
storage_port: $storage_port
native_transport_port: $port
authenticator: $authenticator
authorizer: $authorizer
role_manager: CassandraRoleManager
data_file_directories: [$data/data]
commitlog_directory: $data/commitlog
hints_directory: $data/hints
saved_caches_directory: $data/saved_caches
cdc_raw_directory: $data/cdc_raw
# A write is answered once the commit log holds it on disk: the offsets are committed next, and nobody else has the row.
commitlog_sync: batch
auto_snapshot: false
# Rows arrive once, in bulk, and are seldom read again: memory and processor time belong to the memtables.
memtable:
  configurations:
    default:
      class_name: TrieMemtable
memtable_allocation_type: offheap_objects
memtable_offheap_space: $off_heap
key_cache_size: 0MiB
row_cache_size: 0MiB
counter_cache_size: 0MiB
concurrent_compactors: 1
compaction_throughput: 32MiB/s
EOF

printf 'dc=%s\nrack=rack1\n' "${CASSANDRA_DATACENTER:-datacenter1}" >"$data/rackdc.properties"

if [ -n "${CASSANDRA_KEYSTORE:-}" ]; then
    cat >>"$settings" <<EOF
client_encryption_options:
  enabled: true
  optional: false
  ssl_context_factory:
    class_name: org.apache.cassandra.security.PEMBasedSslContextFactory
  keystore: $CASSANDRA_KEYSTORE
EOF
    if [ -n "${CASSANDRA_CLIENT_CA:-}" ]; then
        cat >>"$settings" <<EOF
  require_client_auth: true
  truststore: $CASSANDRA_CLIENT_CA
EOF
    fi
fi

# Memtables are off the heap, so half of it can be for what lives shortly: fewer collections while rows pour in.
# The five cassandra options at the end are for a cluster of one: nobody to wait for, and nobody to tell.
# shellcheck disable=SC2086  # several options in one variable
exec "$java" "@$here/jvm.options" "-Xms$heap" "-Xmx$heap" -Xss512k -XX:+UseSerialGC -XX:NewRatio=1 \
    -XX:MetaspaceSize=96m -XX:-UsePerfData -XX:+ExitOnOutOfMemoryError \
    "-Djava.io.tmpdir=$data/tmp" "-Djna.tmpdir=$data/tmp" -Djava.awt.headless=true \
    "-Dlogback.configurationFile=$here/logback.xml" \
    "-Dcassandra.config=file://$settings" "-Dcassandra-rackdc.properties=file://$data/rackdc.properties" \
    "-Dcassandra.storagedir=$data" -Dcassandra-foreground=yes \
    ${CASSANDRA_JMX_PORT:+"-Dcassandra.jmx.local.port=$CASSANDRA_JMX_PORT"} \
    -Dcassandra.skip_wait_for_gossip_to_settle=0 -Dcassandra.ring_delay_ms=1 -Dcassandra.superuser_setup_delay_ms=0 \
    -Dcassandra.load_ring_state=false -Dcassandra.shutdown_announce_in_ms=0 \
    ${CASSANDRA_JAVA_OPTIONS:-} -cp "$lib/*" org.apache.cassandra.service.CassandraDaemon
