//! Streams for tests.

use std::io::{self, Cursor, Write};
use std::sync::{Arc, Mutex};

use crate::io::Io;

/// A stream that can be looked at after it was written to.
#[derive(Clone, Default)]
pub(crate) struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Buffer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Buffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Streams with this input and these variables, and the buffers of output and errors.
pub(crate) fn io(stdin: &str, env: &[(&str, &str)]) -> (Io, Buffer, Buffer) {
    let (out, err) = (Buffer::default(), Buffer::default());
    let env: Vec<(String, String)> =
        env.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let io = Io {
        stdin: Box::new(Cursor::new(stdin.as_bytes().to_vec())),
        stdout: Box::new(out.clone()),
        stderr: Box::new(err.clone()),
        env: Box::new(move |name| env.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone())),
        stdin_is_terminal: false,
        stderr_is_terminal: false,
    };
    (io, out, err)
}
