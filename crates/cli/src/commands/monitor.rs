//! `monitor`: the server's log, as it is written.

use strongroom_client::Request;

use crate::call::Call;
use crate::command::Command;
use crate::complete::Offer;
use crate::failure::{Because, Failure, Outcome};
use crate::flags::Flag;
use crate::output::text::visible;

pub(crate) static MONITOR: Command = Command::remote(
    "monitor",
    "Stream log messages from a server",
    "[options]",
    r"
Streams the server's log at the given level until interrupted.

    $ {p} monitor -log-level=debug
",
    |call| Box::pin(monitor(call)),
)
.flags(&[
    Flag::text("log-format", "Format of the messages: \"standard\" or \"json\".")
        .default("standard")
        .offers(Offer::Words(&["json", "standard"])),
    Flag::text("log-level", "Lowest level to show: \"trace\", \"debug\", \"info\", \"warn\" or \"error\".")
        .default("info")
        .offers(Offer::Words(&["debug", "error", "info", "trace", "warn"])),
])
.takes(0)
.foreign();

async fn monitor(call: &mut Call<'_>) -> Outcome {
    let level = call.flags.text("log-level").unwrap_or("info").to_lowercase();
    let format = call.flags.text("log-format").unwrap_or("standard").to_lowercase();
    if !matches!(level.as_str(), "trace" | "debug" | "info" | "warn" | "error") {
        return Err(Failure::local(format!(
            "{level} is an unknown log level. Valid log levels are: trace, debug, info, warn, error"
        )));
    }
    if !matches!(format.as_str(), "standard" | "json") {
        return Err(Failure::local(format!(
            "{format} is an unknown log format. Valid log formats are: standard, json"
        )));
    }
    let what = "Error starting monitor";
    let request =
        Request::read("sys/monitor").query("log_level", level).query("log_format", format).unlimited();
    let mut response = call.send(request).await.because(what)?;
    if response.status() == 404 {
        return Err(response.into_error().await).because(what);
    }
    while let Some(chunk) = response.chunk().await.because(what)? {
        call.write(&visible(&String::from_utf8_lossy(&chunk)))?;
    }
    Ok(())
}
