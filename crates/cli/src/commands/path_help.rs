//! `path-help`: the purpose of an API path.

use serde_json::Value;
use strongroom_client::Request;

use crate::call::Call;
use crate::command::Command;
use crate::complete::Offer;
use crate::failure::{Because, Failure, Outcome};
use crate::output::Format;
use crate::output::text::visible;

pub(crate) static PATH_HELP: Command = Command::remote(
    "path-help",
    "Retrieve API help for paths",
    "[options] PATH",
    r"
Shows the purpose and the parameters of the API path PATH. With -format=json, the output is an OpenAPI document.

    $ {p} path-help database/roles/
",
    |call| Box::pin(path_help(call)),
)
.format()
.takes(1)
.offers(&[Offer::Paths]);

async fn path_help(call: &mut Call<'_>) -> Outcome {
    let path = call.path_arg(0);
    let what = "Error retrieving help";
    let help = call.fields(Request::read(&path).query("help", "1")).await.because(what)?;
    if call.format == Format::Table {
        let text = help.get("help").and_then(Value::as_str).unwrap_or_default();
        return call.say(visible(text));
    }
    match help.get("openapi").filter(|document| !document.is_null()) {
        Some(document) => call.show_value(document),
        None => Err(Failure::remote(format!("No OpenAPI document for {path}"))),
    }
}
