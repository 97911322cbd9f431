# Runs a PostgreSQL server until standard input ends, however whoever holds its other end has ended, and leaves nothing
# behind. Prints its directory when it serves.
#
#   server.sh BIN PORT     with the certificates and keys of the environment; for clients of 127.0.0.1, or of NEAR at HOST
set -eu
bin=$1 port=$2 host=${HOST:-127.0.0.1} near=${NEAR:-127.0.0.1/32}
dir=$(mktemp -d /tmp/strongroom-postgresql-XXXXXX)
finish() {
    "$bin/pg_ctl" -D "$dir/data" -m immediate stop >/dev/null 2>&1 || true
    rm -rf "$dir"
}
trap finish EXIT
trap 'exit 1' HUP INT TERM
cd "$dir"
umask 077
printf '%s' "$ADMIN_PASSWORD" >password
"$bin/initdb" -D data -U admin --pwfile=password --auth=scram-sha-256 --no-sync --encoding=UTF8 --locale=C >initdb.log
printf '%s' "$AUTHORITY" >authority.pem
printf '%s' "$CERTIFICATE" >server.pem
printf '%s' "$KEY" >server.key
cat >data/pg_hba.conf <<END
hostssl all certified $near cert
host    all all       $near scram-sha-256
local   all all                    scram-sha-256
END
cat >>data/postgresql.conf <<END
listen_addresses = '$host'
port = $port
unix_socket_directories = '$dir'
max_connections = 200
fsync = off
shared_buffers = 32MB
ssl = $TLS
ssl_cert_file = '$dir/server.pem'
ssl_key_file = '$dir/server.key'
ssl_ca_file = '$dir/authority.pem'
END
"$bin/pg_ctl" -D data -l server.log -w -t 120 start >start.log 2>&1 || { cat start.log server.log >&2; exit 1; }
echo "$dir"
# Each line that comes stops the server at once and starts it again.
while read -r _; do
    "$bin/pg_ctl" -D data -l server.log -m immediate -w -t 120 restart >start.log 2>&1 || cat start.log server.log >&2
    echo restarted
done
