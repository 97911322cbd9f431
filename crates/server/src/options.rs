//! The flags of `strongroom server`. Source: Vault's "server" command page.

use anyhow::{Context as _, Result, bail};
use strongroom_config::{Address, Config};
use strongroom_stdx::variable;

use crate::flag_words::Words;

/// The options of the command line.
#[derive(Debug, Default)]
pub(crate) struct Options {
    pub(crate) configs: Vec<String>,
    pub(crate) dev: Option<Dev>,
    pub(crate) log_level: Option<String>,
    pub(crate) log_format: Option<String>,
    pub(crate) log_file: Option<String>,
    pub(crate) log_rotate_bytes: Option<u64>,
    pub(crate) log_rotate_duration: Option<String>,
    pub(crate) log_rotate_max_files: Option<i64>,
    pub(crate) test_verify_only: bool,
    /// Remarks about flags that have no effect.
    pub(crate) warnings: Vec<String>,
}

/// The flags that take a value.
const VALUES: [&str; 12] = [
    "config",
    "log-level",
    "log-format",
    "log-file",
    "log-rotate-bytes",
    "log-rotate-duration",
    "log-rotate-max-files",
    "dev-root-token-id",
    "dev-listen-address",
    "dev-tls-cert-dir",
    "dev-tls-san",
    "dev-cluster-json",
];

/// The answer to a flag of Vault's that this server does not serve.
enum Unserved {
    /// A start without it would not be what was asked for.
    Refused(&'static str),
    /// Nothing follows from it.
    NoEffect(&'static str),
}

const UNSERVED: [(&str, Unserved); 4] = [
    (
        "dev-plugin-dir",
        Unserved::Refused("secrets engines and auth methods are built in, no plugin is loaded"),
    ),
    (
        "recovery",
        Unserved::Refused(
            "a cluster that lost its quorum is recovered by \"operator raft recover\" (docs/runbooks/quorum-loss.md)",
        ),
    ),
    ("experiment", Unserved::Refused("this version has no experiments")),
    ("exit-on-core-shutdown", Unserved::NoEffect("the core of this server ends with the process alone")),
];

/// The development server's flags.
#[derive(Debug)]
#[allow(clippy::struct_excessive_bools, reason = "each is a switch of the command line")]
pub(crate) struct Dev {
    pub(crate) root_token: Option<String>,
    pub(crate) listen: String,
    pub(crate) tls: bool,
    pub(crate) tls_cert_dir: Option<String>,
    pub(crate) tls_san: Vec<String>,
    pub(crate) no_store_token: bool,
    pub(crate) no_kv: bool,
    pub(crate) kv_v1: bool,
    pub(crate) cluster_json: Option<String>,
    /// A cluster of three nodes instead of one server in memory.
    pub(crate) three_node: bool,
}

/// The help of the command.
pub(crate) const HELP: &str = "\
Usage: {p} server [options]

  Starts a server. With a configuration file:

      $ {p} server -config=/etc/strongroom/config.hcl

  In development mode, in memory, initialized and unsealed:

      $ {p} server -dev

  A cluster of three nodes to try things on:

      $ {p} server -dev-three-node

Command options:

  -config=<path>               File or directory of configuration; repeatable.
  -test-verify-only            Validates everything needed to start, then exits.
  -log-level=<level>           trace, debug, info, warn or error.
  -log-format=<format>         standard or json.
  -log-file=<path>             Also writes the log to a file.
  -log-rotate-bytes=<int>      Starts a new log file at this size.
  -log-rotate-duration=<dur>   Starts a new log file after this time.
  -log-rotate-max-files=<int>  Keeps this many old log files.

Dev options:

  -dev                         Starts a development server. Not for production.
  -dev-three-node              Starts a cluster of three development nodes in one process, at this port, the next
                               but one and but two, with data in a temporary directory that is removed at the end.
  -dev-root-token-id=<string>  The initial root token (VAULT_DEV_ROOT_TOKEN_ID).
  -dev-listen-address=<addr>   Address to listen on (VAULT_DEV_LISTEN_ADDRESS); default 127.0.0.1:8200.
  -dev-tls                     Enables TLS with a generated certificate.
  -dev-tls-cert-dir=<dir>      Directory for the certificate; default a temporary directory.
  -dev-tls-san=<name>          Another name for the certificate; repeatable.
  -dev-no-store-token          Does not write the root token to the token helper.
  -dev-no-kv                   Does not mount a KV engine at secret/.
  -dev-kv-v1                   Mounts KV version 1 at secret/.
  -dev-cluster-json=<path>     Writes addresses and root token to a file.
";

impl Options {
    /// Reads the flags; the environment supplies what Vault documents for each.
    pub(crate) fn parse(args: &[String], env: impl Fn(&str) -> Option<String>) -> Result<Self> {
        let mut options = Self::default();
        let env = |name: &str| variable(&env, name).map(|(_, value)| value);
        let mut dev = Dev {
            root_token: env("DEV_ROOT_TOKEN_ID"),
            listen: env("DEV_LISTEN_ADDRESS").unwrap_or_else(|| "127.0.0.1:8200".to_owned()),
            tls: false,
            tls_cert_dir: None,
            tls_san: Vec::new(),
            no_store_token: false,
            no_kv: false,
            kv_v1: false,
            cluster_json: None,
            three_node: false,
        };
        options.log_level = env("LOG_LEVEL");
        options.log_format = env("LOG_FORMAT");
        let mut is_dev = false;
        let mut words = Words::new(args);
        while let Some(flag) = words.flag()? {
            if let Some(place) = switch(flag.name, &mut dev, &mut is_dev, &mut options.test_verify_only) {
                *place = flag.is_on()?;
                continue;
            }
            if let Some((_, answer)) = UNSERVED.iter().find(|(name, _)| *name == flag.name) {
                options.unserved(&flag, answer)?;
                continue;
            }
            anyhow::ensure!(VALUES.contains(&flag.name), "flag provided but not defined: -{}", flag.name);
            let given = words.value(&flag)?;
            if given.is_empty() {
                continue;
            }
            let value = given.to_owned();
            match flag.name {
                "config" => options.configs.push(value),
                "log-level" => options.log_level = Some(value),
                "log-format" => options.log_format = Some(value),
                "log-file" => options.log_file = Some(value),
                "log-rotate-bytes" => options.log_rotate_bytes = Some(flag.parsed(given)?),
                "log-rotate-duration" => options.log_rotate_duration = Some(value),
                "log-rotate-max-files" => options.log_rotate_max_files = Some(flag.parsed(given)?),
                "dev-root-token-id" => dev.root_token = Some(value),
                "dev-listen-address" => dev.listen = value,
                "dev-tls-cert-dir" => dev.tls_cert_dir = Some(value),
                "dev-tls-san" => dev.tls_san.push(value),
                "dev-cluster-json" => dev.cluster_json = Some(value),
                name => bail!("flag provided but not defined: -{name}"),
            }
        }
        let implied = dev.tls || dev.three_node || dev.tls_cert_dir.is_some();
        options.dev = (is_dev || implied).then_some(dev);
        Ok(options)
    }

    /// Answers a flag of Vault's that this server does not serve.
    fn unserved(&mut self, flag: &crate::flag_words::Flag<'_>, answer: &Unserved) -> Result<()> {
        match answer {
            Unserved::Refused(reason) => bail!("-{} is not supported: {reason}", flag.name),
            Unserved::NoEffect(reason) => {
                if flag.is_on()? {
                    self.warnings.push(format!("-{} is accepted and has no effect: {reason}", flag.name));
                }
                Ok(())
            }
        }
    }

    /// Puts what the flags say into the configuration.
    pub(crate) fn apply(&self, config: &mut Config) -> Result<()> {
        if let Some(level) = &self.log_level {
            config.log_level = Some(crate::logs::level(level)?);
        }
        if let Some(format) = &self.log_format {
            config.log_format = Some(crate::logs::format(format)?);
        }
        if let Some(file) = &self.log_file {
            config.log_file = Some(file.into());
        }
        if let Some(bytes) = self.log_rotate_bytes {
            config.log_rotate_bytes = Some(bytes);
        }
        if let Some(text) = &self.log_rotate_duration {
            config.log_rotate_duration = strongroom_stdx::parse_duration(text)
                .with_context(|| format!("invalid value {text:?} for -log-rotate-duration"))?;
        }
        if let Some(files) = self.log_rotate_max_files {
            config.log_rotate_max_files = files;
        }
        Ok(())
    }
}

fn switch<'a>(
    name: &str,
    dev: &'a mut Dev,
    is_dev: &'a mut bool,
    verify: &'a mut bool,
) -> Option<&'a mut bool> {
    match name {
        "dev" => Some(is_dev),
        "dev-three-node" => Some(&mut dev.three_node),
        "dev-tls" => Some(&mut dev.tls),
        "dev-no-store-token" => Some(&mut dev.no_store_token),
        "dev-no-kv" => Some(&mut dev.no_kv),
        "dev-kv-v1" => Some(&mut dev.kv_v1),
        "test-verify-only" => Some(verify),
        _ => None,
    }
}

impl Dev {
    /// The address to listen at.
    pub(crate) fn address(&self) -> Result<Address> {
        self.listen.parse().map_err(|error| anyhow::anyhow!("-dev-listen-address {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Options> {
        let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
        Options::parse(&args, |name| (name == "VAULT_DEV_LISTEN_ADDRESS").then(|| "127.0.0.1:1".to_owned()))
    }

    #[test]
    fn flags_in_every_spelling() {
        let options =
            parse(&["-config", "a.hcl", "--config=b.hcl", "-dev=true", "-dev-root-token-id=root"]).unwrap();
        assert_eq!(options.configs, ["a.hcl", "b.hcl"]);
        let dev = options.dev.unwrap();
        assert_eq!((dev.root_token.as_deref(), dev.listen.as_str()), (Some("root"), "127.0.0.1:1"));
        assert!(parse(&["-config=a.hcl"]).unwrap().dev.is_none());
        assert!(parse(&["-dev-tls"]).unwrap().dev.unwrap().tls);
        assert!(parse(&["-dev-three-node"]).unwrap().dev.unwrap().three_node);
    }

    #[test]
    fn empty_is_not_given() {
        let empty = |flags: &[&str]| {
            let flags: Vec<String> = flags.iter().map(|flag| (*flag).to_owned()).collect();
            Options::parse(&flags, |_| Some(String::new())).unwrap()
        };
        let options =
            empty(&["-dev", "-dev-root-token-id=", "-dev-listen-address=", "-config=", "-log-level="]);
        assert_eq!((options.configs.len(), options.log_level.as_deref()), (0, None));
        let dev = options.dev.unwrap();
        assert_eq!((dev.root_token.as_deref(), dev.listen.as_str()), (None, "127.0.0.1:8200"));
        assert!(empty(&["-dev-tls-cert-dir="]).dev.is_none());
        let dev = parse(&["-dev", "-dev-listen-address", ""]).unwrap().dev.unwrap();
        assert_eq!(dev.listen, "127.0.0.1:1", "the variable stands in");
    }

    #[test]
    fn flags_that_are_not_served_are_answered() {
        for (flag, answer) in [
            ("-dev-plugin-dir=/x", "no plugin is loaded"),
            ("-recovery", "operator raft recover"),
            ("-experiment=x", "no experiments"),
        ] {
            let error = parse(&[flag]).unwrap_err().to_string();
            assert!(error.contains("is not supported") && error.contains(answer), "{error}");
        }
        let options = parse(&["-exit-on-core-shutdown", "-config=a"]).unwrap();
        assert!(options.warnings[0].contains("has no effect"), "{:?}", options.warnings);
        assert!(parse(&["-exit-on-core-shutdown=false", "-dev=TRUE"]).unwrap().warnings.is_empty());
    }

    #[test]
    fn mistakes_are_named() {
        assert_eq!(parse(&["-config"]).unwrap_err().to_string(), "flag needs an argument: -config");
        for words in [&["-nonsense"][..], &["-nonsense=1"], &["-nonsense", "1"]] {
            assert_eq!(parse(words).unwrap_err().to_string(), "flag provided but not defined: -nonsense");
        }
        assert!(parse(&["-dev=maybe"]).unwrap_err().to_string().contains("invalid boolean"));
        assert!(parse(&["word"]).unwrap_err().to_string().contains("Too many arguments"));
    }
}
