//! The program as a library: server, command line and, behind a link named `vault`, the same under that name.
//!
//! Which engines it serves is told by whoever runs it, so that a test has the whole program with an engine of its own.

mod admission;
#[cfg(test)]
mod catalog_tests;
mod client_certificates;
mod cluster;
mod dev;
mod discovery;
mod flag_words;
mod listen;
mod log_format;
mod logs;
mod migrate;
mod node;
mod notify;
mod options;
mod outbound;
#[cfg(test)]
mod parameter_tests;
mod plain_http;
mod proxy_protocol;
mod recover;
mod start;
mod store;
mod tls;
mod trusted_clients;
mod verify;

use std::pin::Pin;
use std::process::ExitCode;

use strongroom_cli::{Commands, Io, Known, Outside};
use strongroom_engine_api::Class;
use strongroom_mounts::Catalog;

/// The engines to serve; made anew for each node of the process.
pub type Engines = fn() -> Catalog;

struct Program {
    engines: Engines,
}

impl Commands for Program {
    fn known(&self, what: Known) -> Vec<String> {
        match what {
            Known::Flags(command) => flag_words::named_in(self.help(command)),
            Known::SecretsEngines => self.types(Class::Secrets),
            Known::AuthMethods => self.types(Class::Auth),
        }
    }

    fn help(&self, command: Outside) -> &'static str {
        match command {
            Outside::Server => options::HELP,
            Outside::Migrate => migrate::HELP,
            Outside::Recover => recover::HELP,
        }
    }

    fn flag_values(&self, command: Outside, flag: &str) -> Vec<String> {
        let words: &[&str] = match (command, flag) {
            (Outside::Server, "log-level") => &["debug", "error", "info", "trace", "warn"],
            (Outside::Server, "log-format") => &["json", "standard"],
            (Outside::Recover, "format") => &["json", "table"],
            _ => &[],
        };
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    fn run<'a>(
        &'a self,
        command: Outside,
        args: Vec<String>,
        io: &'a mut Io,
    ) -> Pin<Box<dyn Future<Output = i32> + Send + 'a>> {
        match command {
            Outside::Server => Box::pin(start::server(args, io, self.engines)),
            Outside::Migrate => Box::pin(migrate::migrate(args, io)),
            Outside::Recover => Box::pin(recover::recover(args, io)),
        }
    }
}

impl Program {
    /// The types that can be enabled, with their other names.
    fn types(&self, class: Class) -> Vec<String> {
        let catalog = (self.engines)();
        let of_class = catalog.engines().filter(|engine| engine.class() == class);
        of_class
            .flat_map(|engine| {
                let aliases = engine.facts().aliases.iter().map(|alias| alias.name.to_string());
                std::iter::once(engine.kind().to_owned()).chain(aliases).collect::<Vec<_>>()
            })
            .collect()
    }
}

/// Runs the program with the process's arguments.
pub fn run(engines: Engines) -> ExitCode {
    no_core_dumps();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(_error) => return ExitCode::FAILURE,
    };
    let argv = std::env::args_os().collect();
    let program = Program { engines };
    let code = runtime.block_on(async { strongroom_cli::run(argv, &mut Io::system(), &program).await });
    // Blocking threads that wait for a terminal must not hold the process back.
    runtime.shutdown_background();
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

/// Keys and secrets must not end up in a core file.
fn no_core_dumps() {
    let none = rustix::process::Rlimit { current: Some(0), maximum: Some(0) };
    // Where the limit cannot be set, it is no reason not to serve.
    let _ = rustix::process::setrlimit(rustix::process::Resource::Core, none);
}
