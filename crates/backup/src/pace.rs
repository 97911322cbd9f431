//! The pace at which an archive has to arrive: only so many are received at a time, and senders of one byte now and then
//! must not keep the others out for long.

use std::io::{self, Read};
use std::time::Duration;

use strongroom_engine_api::{Clock, Moment};

/// The time that any archive has.
const LEAST_TIME: Duration = Duration::from_mins(1);
/// Bytes for which it has a second more.
const BYTES_PER_SECOND: u64 = 64 << 10;

/// An archive that fails once it arrives too slowly.
pub(crate) struct Paced<R> {
    archive: R,
    clock: Clock,
    began: Moment,
    bytes: u64,
}

impl<R: Read> Paced<R> {
    pub(crate) fn new(archive: R, clock: Clock) -> Self {
        let began = clock.now();
        Self { archive, clock, began, bytes: 0 }
    }
}

impl<R: Read> Read for Paced<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let read = self.archive.read(out)?;
        self.bytes = self.bytes.saturating_add(u64::try_from(read).unwrap_or(u64::MAX));
        let time = LEAST_TIME.saturating_add(Duration::from_secs(self.bytes / BYTES_PER_SECOND));
        if self.clock.now().since(self.began) > time {
            return Err(io::Error::new(io::ErrorKind::TimedOut, "the snapshot arrives too slowly"));
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_dribbles_is_given_up_and_what_is_large_is_not() {
        let clock = Clock::stepped(Moment::from_secs(1_700_000_000));
        let mut dribbling = Paced::new(io::repeat(1), clock.clone());
        for _ in 0..60 {
            clock.advance(Duration::from_secs(1));
            dribbling.read_exact(&mut [0]).unwrap();
        }
        clock.advance(Duration::from_secs(1));
        assert_eq!(dribbling.read(&mut [0]).unwrap_err().kind(), io::ErrorKind::TimedOut);
        let mut large = Paced::new(io::repeat(1), clock.clone());
        let mut piece = vec![0; 64 << 10];
        for _ in 0..200 {
            clock.advance(Duration::from_secs(1));
            large.read_exact(&mut piece).unwrap();
        }
    }
}
