//! `policy`: read, write, list, delete, format and explain policies.

use std::fs;
use std::future::ready;

use serde_json::{Value, json};
use strongroom_client::Request;
use strongroom_output_file::OutputFile;
use zeroize::Zeroizing;

use crate::call::Call;
use crate::command::Command;
use crate::complete::Offer;
use crate::failure::{Because, Failure, Outcome, io_reason};
use crate::output::{Format, go};

pub(crate) static POLICY: Command = Command::group(
    "policy",
    "Interact with policies",
    r"
Reads, writes, lists, deletes, formats and explains policies.

    $ {p} policy write my-policy ./my-policy.hcl
    $ {p} policy list
",
    &[&DELETE, &EXPLAIN, &FMT, &LIST, &READ, &WRITE],
);

static READ: Command = Command::remote(
    "read",
    "Prints the contents of a policy",
    "[options] NAME",
    r"
Prints the policy NAME.
",
    |call| Box::pin(read(call)),
)
.format()
.takes(1)
.offers(&[Offer::Policies, Offer::Nothing]);

static WRITE: Command = Command::remote(
    "write",
    "Uploads a named policy from a file",
    "[options] NAME PATH",
    r#"
Creates or replaces the policy NAME with the contents of the file PATH; "-" reads standard input.

    $ {p} policy write my-policy ./my-policy.hcl
"#,
    |call| Box::pin(write(call)),
)
.takes(2)
.offers(&[Offer::Policies, Offer::Nothing]);

static LIST: Command = Command::remote(
    "list",
    "Lists the installed policies",
    "[options]",
    r"
Lists the names of the policies.
",
    |call| Box::pin(list(call)),
)
.format()
.takes(0);

static DELETE: Command = Command::remote(
    "delete",
    "Deletes a policy by name",
    "[options] NAME",
    r#"
Deletes the policy NAME. Takes effect immediately. The policies "default" and "root" cannot be deleted.
"#,
    |call| Box::pin(delete(call)),
)
.takes(1)
.offers(&[Offer::Policies, Offer::Nothing]);

static FMT: Command = Command::local(
    "fmt",
    "Formats a policy on disk",
    "[options] PATH",
    r"
Formats the policy file PATH, in place.

    $ {p} policy fmt my-policy.hcl
",
    |call| Box::pin(ready(fmt(call))),
)
.takes(1);

static EXPLAIN: Command = Command::remote(
    "explain",
    "Explains why a request is allowed or denied",
    "[options] [TOKEN] PATH OPERATION",
    r"
Explains what the policies of a token (the one in use, or TOKEN) say about OPERATION on PATH: read, list, create, update,
patch, delete. Names the rule that decides.

    $ {p} policy explain secret/data/foo read
",
    |call| Box::pin(explain(call)),
)
.field()
.args(2, 3);

fn name(call: &Call<'_>, at: usize) -> String {
    call.arg(at).trim().to_lowercase()
}

async fn read(call: &mut Call<'_>) -> Outcome {
    let name = name(call, 0);
    let request = Request::read(format!("sys/policies/acl/{name}"));
    let reply = call.reply_or_none(request).await.because(format!("Error reading policy named {name}"))?;
    let rules = reply.as_ref().and_then(|reply| reply.field("policy").or_else(|| reply.field("rules")));
    match rules.and_then(Value::as_str) {
        Some(rules) if call.format == Format::Table => {
            let rules = rules.trim().to_owned();
            call.say(rules)
        }
        Some(rules) => {
            let rules = json!({ "policy": rules });
            call.show_value(&rules)
        }
        None => Err(Failure::remote(format!("No policy named: {name}"))),
    }
}

async fn write(call: &mut Call<'_>) -> Outcome {
    let given = call.arg(0).trim().to_owned();
    let name = name(call, 0);
    let path = call.arg(1).trim().to_owned();
    if given != name {
        call.warn(format!("Policy name was converted from {given:?} to {name:?}"))?;
    }
    let rules: Zeroizing<String> = if path == "-" {
        call.io
            .read_stdin()
            .map_err(|error| Failure::remote(format!("Error reading policy: {}", io_reason(&error))))?
    } else {
        let text = fs::read_to_string(&path);
        text.map_err(|error| {
            Failure::remote(format!("Error opening policy file: open {path}: {}", io_reason(&error)))
        })?
        .into()
    };
    let what = "Error uploading policy";
    let body = json!({ "policy": rules.as_str() });
    let request = Request::write(format!("sys/policies/acl/{name}")).json(&body).because(what)?;
    let reply = call.reply(request).await.because(what)?;
    if let Some(reply) = reply {
        call.show_warnings(&reply)?;
    }
    call.say(format!("Success! Uploaded policy: {name}"))
}

async fn list(call: &mut Call<'_>) -> Outcome {
    let reply =
        call.reply_or_none(Request::list("sys/policies/acl")).await.because("Error listing policies")?;
    let reply = reply.unwrap_or_default();
    let keys = reply.keys().cloned().unwrap_or_default();
    if call.format != Format::Table {
        return call.show_value(&keys);
    }
    for policy in &keys {
        call.say(go::value(policy))?;
    }
    Ok(())
}

async fn delete(call: &mut Call<'_>) -> Outcome {
    let name = name(call, 0);
    let request = Request::delete(format!("sys/policies/acl/{name}"));
    call.reply(request).await.because(format!("Error deleting {name}"))?;
    call.say(format!("Success! Deleted policy: {name}"))
}

fn fmt(call: &mut Call<'_>) -> Outcome {
    let path = call.arg(0).trim().to_owned();
    let named = |what: &str, error: &std::io::Error| {
        Failure::local(format!("{what}: open {path}: {}", io_reason(error)))
    };
    let before = fs::read_to_string(&path).map_err(|error| named("Error reading source file", &error))?;
    let after = strongroom_hcl::format(&before)
        .map_err(|error| Failure::local(format!("Error printing result: {error}")))?;
    if after != before {
        OutputFile::write_at(path.as_ref(), 0o644, after.as_bytes())
            .map_err(|error| named("Error writing result", &error))?;
    }
    call.say(format!("Success! Formatted policy: {path}"))
}

async fn explain(call: &mut Call<'_>) -> Outcome {
    let with_token = call.args.len() == 3;
    let at = usize::from(with_token);
    let mut body = json!({ "path": call.arg(at).trim(), "operation": call.arg(at.saturating_add(1)).trim() });
    if let Some(fields) = body.as_object_mut().filter(|_| with_token) {
        fields.insert("token".to_owned(), json!(call.arg(0).trim()));
    }
    let what = "Error explaining policies";
    let request = Request::post("sys/policies/explain").json(&body).because(what)?;
    match call.reply(request).await.because(what)? {
        Some(reply) => call.show(&reply),
        None => Err(Failure::remote(format!("{what}: empty response"))),
    }
}
