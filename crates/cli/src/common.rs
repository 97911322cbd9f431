//! The flags that many commands share.

use crate::complete::Offer;
use crate::flags::Flag;

/// Flags to reach the server, and what to send along.
pub(crate) const HTTP: [Flag; 18] = [
    Flag::text("address", "Address of the Vault server, as https://host:port, http://host:port or unix:///socket.")
        .default("https://127.0.0.1:8200")
        .env("ADDR"),
    Flag::text("agent-address", "Address of an agent to use instead of the server.").env("AGENT_ADDR"),
    Flag::text(
        "ca-cert",
        "File of PEM certificates of CAs to verify the server's certificate. Takes precedence over -ca-path.",
    )
    .env("CACERT"),
    Flag::text("ca-path", "Directory of PEM certificates of CAs to verify the server's certificate.").env("CAPATH"),
    Flag::text("client-cert", "File of the PEM certificate to present to the server. Needs -client-key.")
        .env("CLIENT_CERT"),
    Flag::text("client-key", "File of the PEM private key of -client-cert.").env("CLIENT_KEY"),
    Flag::switch("disable-redirects", "Do not follow the one redirect that is otherwise followed.")
        .default("false")
        .env("DISABLE_REDIRECTS"),
    Flag::map(
        "header",
        "A key=value header to send with every request. Can be given several times. Names that start with 'X-Vault-' \
         are refused.",
    ),
    Flag::list("mfa", "Multi-factor credentials to send as X-Vault-MFA. Can be given several times.").env("MFA"),
    Flag::text("namespace", "Namespace of the command. Paths are relative to it.").or("ns").env("NAMESPACE"),
    Flag::switch("non-interactive", "Never ask at the terminal; fail instead.").default("false"),
    Flag::switch("output-curl-string", "Print the request as a curl command instead of sending it.").default("false"),
    Flag::switch("output-policy", "Print the policy that the request needs instead of sending it.").default("false"),
    Flag::switch("policy-override", "Override Sentinel policies that are soft-mandatory.").default("false"),
    Flag::text("tls-server-name", "Name to ask the server for and to verify it by.").env("TLS_SERVER_NAME"),
    Flag::switch(
        "tls-skip-verify",
        "Do not verify the server's certificate. Connections can then be intercepted and modified.",
    )
    .default("false")
    .env("SKIP_VERIFY"),
    Flag::text("unlock-key", "Key that unlocks the API of a namespace."),
    Flag::span(
        "wrap-ttl",
        "Wrap the response in a single-use token with this TTL, such as \"30s\" or \"5m\". The unwrap command unwraps it.",
    )
    .env("WRAP_TTL"),
];

/// `-format`.
pub(crate) const FORMAT: Flag = Flag::text(
    "format",
    "Print the output in the given format: \"table\", \"json\" or \"yaml\"; also \"raw\" for reads.",
)
.default("table")
.env("FORMAT")
.offers(Offer::Words(&["table", "json", "yaml", "pretty", "raw"]));

/// `-field`.
pub(crate) const FIELD: Flag = Flag::text(
    "field",
    "Print only this field, without a trailing newline. Takes precedence over other formatting.",
);

/// `-detailed`.
pub(crate) const DETAILED: Flag =
    Flag::switch("detailed", "Show detailed information about each entry.").default("false").env("DETAILED");

/// `-mount` of the `kv` commands.
pub(crate) const MOUNT: Flag = Flag::text(
    "mount",
    "Path where the KV secrets engine is mounted. The argument is then the secret's path in it. Without this flag the \
     argument starts with the mount's path.",
)
.offers(Offer::Mounts);
