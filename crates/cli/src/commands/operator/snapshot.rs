//! `operator raft snapshot`: saving, inspecting and restoring the state of the cluster.

use std::fs;
use std::future::ready;
use std::io::{self, Write};
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use strongroom_client::{Payload, Request};
use strongroom_output_file::OutputFile;
use tokio::io::{AsyncRead, ReadBuf};

use crate::call::Call;
use crate::command::Command;
use crate::failure::{Because, Failure, Outcome, io_reason};
use crate::flags::Flag;
use crate::output::{Format, table};

pub(super) static SNAPSHOT: Command = Command::group(
    "snapshot",
    "Restores and saves snapshots from the Raft cluster",
    r"
Saves the state of the cluster to a file, and restores it from there.

    $ {p} operator raft snapshot save backup.snap
    $ {p} operator raft snapshot inspect backup.snap
    $ {p} operator raft snapshot restore backup.snap
",
    &[&INSPECT, &RESTORE, &SAVE],
);

static SAVE: Command = Command::remote(
    "save",
    "Saves a snapshot of the current state of the Raft cluster into a file",
    "[options] FILE",
    r"
Saves a snapshot to FILE. The data remains encrypted.
",
    |call| Box::pin(save(call)),
)
.takes(1);

static RESTORE: Command = Command::remote(
    "restore",
    "Installs the provided snapshot, returning the cluster to the state defined in it",
    "[options] FILE",
    r"
Replaces the state of the cluster with the snapshot in FILE.
",
    |call| Box::pin(restore(call)),
)
.flags(&[Flag::switch(
    "force",
    "Restore a snapshot that was made with other unseal keys or another seal; they are then needed to unseal.",
)
.or("f")
.default("false")])
.takes(1);

static INSPECT: Command = Command::local(
    "inspect",
    "Inspects a raft snapshot",
    "[options] FILE",
    r"
Describes the snapshot in FILE and verifies it. Requires neither a server nor keys.
",
    |call| Box::pin(ready(inspect(call))),
)
.format()
.takes(1);

/// Saves to what the path names. A file is replaced once the snapshot is whole, so that a broken download replaces no good
/// one.
async fn save(call: &mut Call<'_>) -> Outcome {
    let path = call.arg(0).to_owned();
    let what = "Error taking the snapshot";
    let local = |error: io::Error| {
        Failure::local(format!("Error opening output file: open {path}: {}", io_reason(&error)))
    };
    let request = Request::read("sys/storage/raft/snapshot").unlimited();
    let mut response = call.send(request).await.because(what)?;
    if response.status() == 404 {
        return Err(response.into_error().await).because(what);
    }
    let mut file = OutputFile::create(Path::new(&path), 0o600).map_err(local)?;
    while let Some(chunk) = response.chunk().await.because(what)? {
        file.write_all(&chunk).map_err(local)?;
    }
    file.commit().map_err(local)
}

async fn restore(call: &mut Call<'_>) -> Outcome {
    let path = call.arg(0).to_owned();
    let file = Upload::open(Path::new(&path)).await;
    let file = file
        .map_err(|error| Failure::local(format!("Error opening file: open {path}: {}", io_reason(&error))))?;
    let api =
        if call.flags.on("force") { "sys/storage/raft/snapshot-force" } else { "sys/storage/raft/snapshot" };
    let request = Request::post(api)
        .header("Content-Type", "application/gzip")
        .body(Payload::Stream(file.boxed_unsync()))
        .unlimited();
    call.reply(request).await.because("Error installing the snapshot")?;
    Ok(())
}

/// A file that is read while it is sent.
struct Upload {
    file: tokio::fs::File,
    /// Bytes still to be sent; `None` for a pipe, which ends when it ends.
    left: Option<u64>,
    buffer: Vec<u8>,
}

impl Upload {
    const CHUNK: usize = 64 * 1024;

    async fn open(path: &Path) -> io::Result<Self> {
        let file = tokio::fs::File::open(path).await?;
        let found = file.metadata().await?;
        let left = found.is_file().then_some(found.len());
        Ok(Self { file, left, buffer: vec![0; Self::CHUNK] })
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = &mut *self;
        if this.left == Some(0) {
            return Poll::Ready(None);
        }
        let mut buffer = ReadBuf::new(&mut this.buffer);
        match Pin::new(&mut this.file).poll_read(cx, &mut buffer) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(Err(error)) => Poll::Ready(Some(Err(error))),
            Poll::Ready(Ok(())) => {
                let mut chunk = Bytes::copy_from_slice(buffer.filled());
                match &mut this.left {
                    None if chunk.is_empty() => return Poll::Ready(None),
                    Some(_) if chunk.is_empty() => {
                        return Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into())));
                    }
                    None => {}
                    // The file may have grown since its length was announced.
                    Some(left) => {
                        chunk.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
                        *left = left.saturating_sub(chunk.len() as u64);
                    }
                }
                Poll::Ready(Some(Ok(Frame::data(chunk))))
            }
        }
    }

    fn size_hint(&self) -> SizeHint {
        self.left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

fn inspect(call: &mut Call<'_>) -> Outcome {
    let path = call.arg(0).to_owned();
    let file = fs::File::open(&path)
        .map_err(|error| Failure::local(format!("Error opening file: open {path}: {}", io_reason(&error))))?;
    let contents = strongroom_snapshot::read(file, io::sink())
        .map_err(|error| Failure::local(format!("Error reading snapshot: {error}")))?;
    let meta = contents.meta;
    if call.format != Format::Table {
        return call.show_value(&meta);
    }
    let servers = meta.servers.iter().map(|server| {
        let votes = if server.voter { "" } else { " (non-voter)" };
        format!("{}{votes}", server.id)
    });
    call.say(table::pairs(&[
        ("ID".to_owned(), meta.id.clone()),
        ("Size".to_owned(), meta.size.to_string()),
        ("Index".to_owned(), meta.index.to_string()),
        ("Term".to_owned(), meta.term.to_string()),
        ("Version".to_owned(), meta.version.to_string()),
        ("Cluster ID".to_owned(), meta.cluster_id.clone()),
        ("Servers".to_owned(), servers.collect::<Vec<_>>().join(", ")),
    ]))
}
