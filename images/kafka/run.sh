#!/bin/sh
# Runs one Kafka broker that is its own controller (KRaft). Everything comes from the environment, and it writes only
# below KAFKA_DATA, so that it runs as any user on a read-only root. It formats the folder on its first start.
#
#   KAFKA_DATA                folder of the log, the settings and temporary files
#   KAFKA_LIB                 folder of the jars that pom.xml names
#   KAFKA_HOST                address that clients are told; for itself it uses the loopback address
#   KAFKA_BIND                address that it binds the clients' port to, by default KAFKA_HOST
#   KAFKA_PORT                port of the clients
#   KAFKA_CONTROLLER_PORT     port of the controller, used by the broker itself
#   KAFKA_HEAP                Java heap, as for -Xmx, taken at once
#   KAFKA_JAVA_OPTIONS        further options of the Java machine, separated by spaces
#   KAFKA_SETTINGS            file with further lines of server.properties, which override those below
#   KAFKA_SECURITY_PROTOCOL   PLAINTEXT, or SASL_SSL: TLS with SCRAM-SHA-512 passwords, and nothing allowed without an ACL.
#                             Then these are needed as well:
#   KAFKA_INTERNAL_PORT       port of the broker's connection to itself (mutual TLS)
#   KAFKA_KEYSTORE            PEM file: PKCS #8 key, then its certificate; its holder is a super user
#   KAFKA_CA                  PEM file: certificate of the authority
#   KAFKA_PRINCIPAL           subject of the broker's certificate, such as CN=kafka
#   KAFKA_USERS               file of "name password" lines, read on the first start; the first is a super user
set -eu
umask 077

here=$(cd "$(dirname "$0")" && pwd)
data=${KAFKA_DATA:-/var/lib/kafka}
lib=${KAFKA_LIB:-$here/lib}
host=${KAFKA_HOST:-127.0.0.1}
bind=${KAFKA_BIND:-$host}
port=${KAFKA_PORT:-9092}
controller_port=${KAFKA_CONTROLLER_PORT:-9093}
heap=${KAFKA_HEAP:-512m}
protocol=${KAFKA_SECURITY_PROTOCOL:-PLAINTEXT}
java=${JAVA_HOME:+$JAVA_HOME/bin/}java

mkdir -p "$data/log" "$data/tmp"
settings=$data/server.properties

cat >"$settings" <<EOF
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=127.0.0.1:$controller_port
controller.listener.names=CONTROLLER
log.dirs=$data/log
auto.create.topics.enable=false
offsets.topic.num.partitions=3
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=3
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
EOF

case $protocol in
PLAINTEXT)
    cat >>"$settings" <<EOF
listeners=CLIENT://$bind:$port,CONTROLLER://127.0.0.1:$controller_port
advertised.listeners=CLIENT://$host:$port,CONTROLLER://127.0.0.1:$controller_port
listener.security.protocol.map=CLIENT:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=CLIENT
EOF
    ;;
SASL_SSL)
    # The broker talks to itself by mutual TLS, so that no password has to be written into its settings.
    cat >>"$settings" <<EOF
listeners=CLIENT://$bind:$port,INTERNAL://127.0.0.1:$KAFKA_INTERNAL_PORT,CONTROLLER://127.0.0.1:$controller_port
advertised.listeners=CLIENT://$host:$port,INTERNAL://127.0.0.1:$KAFKA_INTERNAL_PORT,CONTROLLER://127.0.0.1:$controller_port
listener.security.protocol.map=CLIENT:SASL_SSL,INTERNAL:SSL,CONTROLLER:SSL
inter.broker.listener.name=INTERNAL
listener.name.internal.ssl.client.auth=required
listener.name.controller.ssl.client.auth=required
listener.name.client.sasl.enabled.mechanisms=SCRAM-SHA-512
listener.name.client.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
sasl.enabled.mechanisms=SCRAM-SHA-512
ssl.keystore.type=PEM
ssl.keystore.location=$KAFKA_KEYSTORE
ssl.truststore.type=PEM
ssl.truststore.location=$KAFKA_CA
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:$KAFKA_PRINCIPAL;User:$(head -n 1 "$KAFKA_USERS" | cut -d ' ' -f 1)
EOF
    ;;
*)
    echo "KAFKA_SECURITY_PROTOCOL is $protocol: it can be PLAINTEXT or SASL_SSL" >&2
    exit 2
    ;;
esac

if [ -n "${KAFKA_SETTINGS:-}" ]; then
    cat "$KAFKA_SETTINGS" >>"$settings"
fi

set -- "-Xms$heap" "-Xmx$heap" -XX:-UsePerfData "-Djava.io.tmpdir=$data/tmp" "-Dlog4j2.configurationFile=$here/log4j2.xml" \
    -Djava.awt.headless=true -XX:+UseSerialGC -cp "$lib/*"

if [ ! -e "$data/log/meta.properties" ]; then
    # The arguments go through a file: passwords must not show in the list of processes.
    arguments=$data/tmp/format
    {
        echo format
        echo --standalone
        echo "--cluster-id=$(head -c 16 /dev/urandom | base64 | tr '+/' '-_' | tr -d '=')"
        echo "--config=$settings"
        if [ "$protocol" = SASL_SSL ]; then
            while read -r name password; do
                echo "--add-scram=SCRAM-SHA-512=[name=$name,password=$password]"
            done <"$KAFKA_USERS"
        fi
    } >"$arguments"
    "$java" "$@" -XX:TieredStopAtLevel=1 kafka.tools.StorageTool "@$arguments"
    rm "$arguments"
fi

# shellcheck disable=SC2086  # several options in one variable
exec "$java" "$@" ${KAFKA_JAVA_OPTIONS:-} kafka.Kafka "$settings"
