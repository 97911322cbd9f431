//! `completion`: the lines that turn completion on in a shell.

use std::future::ready;

use crate::call::Call;
use crate::command::Command;
use crate::complete;
use crate::complete::Offer;
use crate::failure::{Failure, Outcome};

pub(crate) static COMPLETION: Command = Command::local(
    "completion",
    "Prints the lines that turn on completion in a shell",
    "SHELL",
    r#"
Prints the lines that turn on completion in SHELL: bash, zsh or fish. "{p} -autocomplete-install" adds them to the
shell's start-up file.

    $ source <({p} completion bash)
"#,
    |call| Box::pin(ready(completion(call))),
)
.takes(1)
.offers(&[Offer::Words(&["bash", "fish", "zsh"])]);

fn completion(call: &mut Call<'_>) -> Outcome {
    match complete::script(call.arg(0), call.program, call.program) {
        Some(script) => call.write(&script),
        None => Err(Failure::local(format!("Unknown shell: {} (expected bash, zsh or fish)", call.arg(0)))),
    }
}
