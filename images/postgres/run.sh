#!/bin/sh
# Runs one Postgres server with one database and one login role. Everything comes from the environment, and it writes only
# to POSTGRES_DATA and /tmp, so that it runs on a read-only root. At each start the role gets the password that the file
# holds, so that a password is changed by changing the file and starting again.
#
#   POSTGRES_DATA            folder of the database
#   POSTGRES_USER            the role, which owns the database and is no superuser
#   POSTGRES_DATABASE        the database, by default named as the role
#   POSTGRES_PASSWORD_FILE   file of the role's password
#   POSTGRES_PORT            port of the clients
#   POSTGRES_TLS_DIR         folder of tls.crt and tls.key; when given, clients must use TLS
set -eu
umask 077

data=${POSTGRES_DATA:-/var/lib/postgresql/data}
user=${POSTGRES_USER:-airflow}
database=${POSTGRES_DATABASE:-$user}
port=${POSTGRES_PORT:-5432}
PATH=/usr/lib/postgresql/15/bin:$PATH

case $user$database in
*[!a-z0-9_]*)
    echo "POSTGRES_USER and POSTGRES_DATABASE can have letters a-z, digits and _" >&2
    exit 2
    ;;
esac
if [ ! -s "${POSTGRES_PASSWORD_FILE:-}" ]; then
    echo "POSTGRES_PASSWORD_FILE must name a file that holds a password" >&2
    exit 2
fi

# SQL on standard input, without a server. A statement that fails is not shown: it may hold the password.
alone() {
    postgres --single -j -c log_min_error_statement=panic -D "$1" postgres >/dev/null
}

# A folder that is half made does not get its name.
if [ ! -e "$data/PG_VERSION" ]; then
    rm -rf "$data.new"
    initdb --pgdata="$data.new" --username=postgres --encoding=UTF8 --locale=C.UTF-8 --auth=reject --data-checksums
    alone "$data.new" <<SQL
CREATE ROLE $user LOGIN;

CREATE DATABASE $database OWNER $user;

SQL
    mv "$data.new" "$data"
fi

alone "$data" <<SQL
ALTER ROLE $user PASSWORD '$(sed "s/'/''/g" "$POSTGRES_PASSWORD_FILE")';

SQL

host=host tls=off
[ -z "${POSTGRES_TLS_DIR:-}" ] || host=hostssl tls=on
cat >"$data/pg_hba.conf" <<EOF
local    $database $user     scram-sha-256
$host  $database $user all scram-sha-256
EOF

exec postgres -D "$data" -p "$port" -c listen_addresses='*' -c unix_socket_directories=/tmp -c jit=off \
    -c "ssl=$tls" ${POSTGRES_TLS_DIR:+-c "ssl_cert_file=$POSTGRES_TLS_DIR/tls.crt" -c "ssl_key_file=$POSTGRES_TLS_DIR/tls.key"}
