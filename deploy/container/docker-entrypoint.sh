#!/bin/sh
# Starts the program in a container the way that charts and compose files made for Vault's and OpenBao's images do:
#
#     docker-entrypoint.sh server …         a server, with the configuration of the image's directory
#     docker-entrypoint.sh status           a command of the program
#     docker-entrypoint.sh vault server …   the program, with just these words
#     docker-entrypoint.sh sh               anything else
#
# Variables, each as BAO_X or VAULT_X:
# LOCAL_CONFIG (a configuration, written to the directory), CONFIG_DIR, DEV_ROOT_TOKEN_ID, DEV_LISTEN_ADDRESS,
# REDIRECT_INTERFACE and CLUSTER_INTERFACE (interfaces whose address others are told). It does not change owners or
# capabilities: the image runs as the user that owns its directories.
set -eu
ulimit -c 0

# The value of a variable under its first prefix that is set; $2 otherwise.
variable() {
    eval "echo \"\${STRONGROOM_$1:-\${BAO_$1:-\${VAULT_$1:-${2:-}}}}\""
}

# The IPv4 address of an interface.
address_of() {
    ip -4 -o address show dev "$1" | sed -n 's/.* inet \([0-9.]*\).*/\1/p' | head -n 1
}

program=vault
case "${1:-}" in
vault | bao | strongroom) program=$1 ;;
esac

config_dir=$(variable CONFIG_DIR /vault/config)
if [ -n "$(variable LOCAL_CONFIG)" ]; then
    variable LOCAL_CONFIG > "$config_dir/local.json"
fi
if [ -n "$(variable REDIRECT_INTERFACE)" ]; then
    VAULT_API_ADDR="$(variable REDIRECT_SCHEME http)://$(address_of "$(variable REDIRECT_INTERFACE)"):8200"
    export VAULT_API_ADDR
fi
if [ -n "$(variable CLUSTER_INTERFACE)" ]; then
    VAULT_CLUSTER_ADDR="https://$(address_of "$(variable CLUSTER_INTERFACE)"):8201"
    export VAULT_CLUSTER_ADDR
fi

case "${1:-}" in
-*) set -- "$program" "$@" ;;
server)
    shift
    set -- "$program" server "-config=$config_dir" "-dev-root-token-id=$(variable DEV_ROOT_TOKEN_ID)" \
        "-dev-listen-address=$(variable DEV_LISTEN_ADDRESS 0.0.0.0:8200)" "$@"
    ;;
*)
    if "$program" --help "${1:-}" 2>&1 | grep -Eq "^Usage: $program ${1:-}"'( [[<]| *$)'; then
        set -- "$program" "$@"
    fi
    ;;
esac
exec "$@"
