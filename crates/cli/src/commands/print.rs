//! `print`: values this program runs with.

use std::future::ready;

use crate::call::Call;
use crate::command::Command;
use crate::failure::Outcome;

pub(crate) static PRINT: Command = Command::group(
    "print",
    "Prints runtime configurations",
    r"
Prints the configuration that other commands use.
",
    &[&TOKEN],
);

static TOKEN: Command = Command::remote(
    "token",
    "Prints the token currently in use",
    "[options]",
    r"
Prints the token that commands use, from the environment or the token helper.

    $ {p} print token
",
    |call| Box::pin(ready(token(call))),
)
.format()
.takes(0);

fn token(call: &mut Call<'_>) -> Outcome {
    let client = call.client()?;
    let token = client.config().token.clone().unwrap_or_default();
    call.say(token.expose())
}
