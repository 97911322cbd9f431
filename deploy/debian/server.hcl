# The configuration of the Strongroom server. Every key is described in docs/configuration.md.

# Only this machine is served until there is a certificate: set tls_cert_file and tls_key_file, remove tls_disable, and
# listen at "0.0.0.0:8200".
listener "tcp" {
  address     = "127.0.0.1:8200"
  tls_disable = true
  # tls_cert_file = "/etc/strongroom/tls/server.pem"
  # tls_key_file  = "/etc/strongroom/tls/server-key.pem"
}

storage "raft" {
  path    = "/var/lib/strongroom"
  node_id = "node1"
}

# Where clients and other nodes reach this one. Templates such as "https://{{ GetPrivateIP }}:8200" are expanded.
api_addr     = "http://127.0.0.1:8200"
cluster_addr = "https://127.0.0.1:8201"
