//! Finds a server by its DNS SRV record (RFC 2782), for `VAULT_SRV_LOOKUP`.
//!
//! The system's resolver interface knows no SRV records, so that the question is put to the name servers of
//! `/etc/resolv.conf` directly. This is discovery, not load balancing: the record of the lowest priority and highest
//! weight is taken.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use strongroom_stdx::Entropy;
use tokio::net::UdpSocket;

const TYPE_SRV: u16 = 33;
const CLASS_INTERNET: u16 = 1;
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(5);
/// Compression pointers followed in one name: more than any honest name has.
const POINTERS_MAX: usize = 32;

#[derive(Debug, PartialEq, Eq)]
struct Record {
    priority: u16,
    weight: u16,
    port: u16,
    target: String,
}

/// The host and port that `_http._tcp.<domain>`'s SRV record names.
pub(crate) async fn lookup(domain: &str) -> io::Result<(String, u16)> {
    let name = format!("_http._tcp.{}", domain.trim_end_matches('.'));
    let failed = |reason: &str| io::Error::other(format!("performing SRV lookup of {name}: {reason}"));
    let configuration =
        tokio::fs::read_to_string("/etc/resolv.conf").await.map_err(|error| failed(&error.to_string()))?;
    let mut last = failed("no name server configured");
    for server in name_servers(&configuration) {
        match ask(server, &name).await {
            Ok(records) => {
                let best =
                    records.into_iter().min_by_key(|r| (r.priority, u16::MAX.saturating_sub(r.weight)));
                return best
                    .map(|record| (record.target, record.port))
                    .ok_or_else(|| failed("no such record"));
            }
            Err(error) => last = failed(&error.to_string()),
        }
    }
    Err(last)
}

fn name_servers(configuration: &str) -> impl Iterator<Item = SocketAddr> {
    configuration
        .lines()
        .filter_map(|line| line.trim().strip_prefix("nameserver"))
        .filter_map(|rest| rest.trim().parse::<IpAddr>().ok())
        .map(|address| SocketAddr::new(address, 53))
}

async fn ask(server: SocketAddr, name: &str) -> io::Result<Vec<Record>> {
    let any: IpAddr =
        if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0)).await?;
    // Only what this server sends is received, and only an answer to this unguessable id counts.
    socket.connect(server).await?;
    let id = u16::from_be_bytes(Entropy::system().bytes().map_err(io::Error::other)?);
    let question = question(id, name).ok_or_else(|| io::Error::other("name too long"))?;
    socket.send(&question).await?;
    let mut buffer = vec![0; 4096];
    let wait = async {
        loop {
            let length = socket.recv(&mut buffer).await?;
            let message = buffer.get(..length).unwrap_or_default();
            if message.get(..2) == Some(&id.to_be_bytes()) {
                return answers(message).ok_or_else(|| io::Error::other("malformed answer"))?;
            }
        }
    };
    tokio::time::timeout(ATTEMPT_TIMEOUT, wait).await.map_err(|_elapsed| io::Error::other("i/o timeout"))?
}

/// A query for the SRV records of `name` (RFC 1035, section 4).
fn question(id: u16, name: &str) -> Option<Vec<u8>> {
    let mut message = Vec::new();
    // Flags: recursion desired. One question, nothing else.
    for word in [id, 0x0100, 1, 0, 0, 0] {
        message.extend_from_slice(&word.to_be_bytes());
    }
    for label in name.split('.') {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..=63).contains(length))?;
        message.push(length);
        message.extend_from_slice(label.as_bytes());
    }
    message.push(0);
    for word in [TYPE_SRV, CLASS_INTERNET] {
        message.extend_from_slice(&word.to_be_bytes());
    }
    (name.len() <= 253).then_some(message)
}

/// The SRV records of an answer; an error where the server reports one. `None` if it is malformed.
fn answers(message: &[u8]) -> Option<io::Result<Vec<Record>>> {
    let mut reader = Reader { message, at: 2 };
    let flags = reader.word()?;
    if flags & 0x000f != 0 {
        return Some(Err(io::Error::other(if flags & 0x000f == 3 {
            "no such host"
        } else {
            "server misbehaving"
        })));
    }
    let (questions, count) = (reader.word()?, reader.word()?);
    reader.skip(4)?;
    for _ in 0..questions {
        reader.name()?;
        reader.skip(4)?;
    }
    let mut records = Vec::new();
    for _ in 0..count {
        reader.name()?;
        let kind = reader.word()?;
        reader.skip(6)?;
        let length = usize::from(reader.word()?);
        let end = reader.at.checked_add(length)?;
        if kind == TYPE_SRV {
            let (priority, weight, port) = (reader.word()?, reader.word()?, reader.word()?);
            records.push(Record { priority, weight, port, target: reader.name()? });
        }
        reader.at = end;
    }
    Some(Ok(records))
}

struct Reader<'a> {
    message: &'a [u8],
    at: usize,
}

impl Reader<'_> {
    fn byte(&mut self) -> Option<u8> {
        let byte = *self.message.get(self.at)?;
        self.at = self.at.checked_add(1)?;
        Some(byte)
    }

    fn word(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes([self.byte()?, self.byte()?]))
    }

    fn skip(&mut self, bytes: usize) -> Option<()> {
        self.at = self.at.checked_add(bytes).filter(|at| *at <= self.message.len())?;
        Some(())
    }

    /// A name, compressed or not; the reader then stands behind it.
    fn name(&mut self) -> Option<String> {
        let mut labels: Vec<String> = Vec::new();
        let mut behind = None;
        let mut pointers = 0_usize;
        loop {
            let length = self.byte()?;
            match length {
                0 => break,
                1..=63 => {
                    let end = self.at.checked_add(usize::from(length))?;
                    labels.push(String::from_utf8(self.message.get(self.at..end)?.to_vec()).ok()?);
                    self.at = end;
                }
                192.. => {
                    let low = self.byte()?;
                    behind.get_or_insert(self.at);
                    pointers = pointers.checked_add(1).filter(|count| *count <= POINTERS_MAX)?;
                    self.at = usize::from(u16::from_be_bytes([length & 0x3f, low]));
                }
                _ => return None,
            }
        }
        if let Some(behind) = behind {
            self.at = behind;
        }
        Some(labels.join("."))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An answer to the question for `_http._tcp.a` with two records, names compressed.
    fn answer() -> Vec<u8> {
        let mut message = question(7, "_http._tcp.a").unwrap();
        message[2] = 0x81;
        message[7] = 2;
        for (priority, weight, port, label) in [(20_u16, 5_u16, 1_u16, b'x'), (10, 1, 8200, b'y')] {
            message.extend_from_slice(&[0xc0, 12, 0, 33, 0, 1, 0, 0, 0, 60, 0, 10]);
            for word in [priority, weight, port] {
                message.extend_from_slice(&word.to_be_bytes());
            }
            // "x" or "y", then a pointer to the label "a" of the question.
            message.extend_from_slice(&[1, label, 0xc0, 23]);
        }
        message
    }

    #[test]
    fn reads_compressed_answers() {
        let records = answers(&answer()).unwrap().unwrap();
        let wanted = Record { priority: 10, weight: 1, port: 8200, target: "y.a".to_owned() };
        assert_eq!(records.len(), 2);
        assert_eq!(records[1], wanted);
    }

    #[test]
    fn cut_and_looping_answers_are_refused() {
        let whole = answer();
        for length in 0..whole.len() {
            assert!(
                !matches!(answers(&whole[..length]), Some(Ok(records)) if records.len() == 2),
                "{length}"
            );
        }
        let mut looping = whole.clone();
        let last = looping.len() - 1;
        looping[last] = u8::try_from(last - 1).unwrap();
        assert!(answers(&looping).is_none());
    }

    #[test]
    fn errors_of_the_server_are_told() {
        let mut message = answer();
        message[3] = 3;
        assert_eq!(answers(&message).unwrap().unwrap_err().to_string(), "no such host");
    }

    #[test]
    fn names_that_cannot_be_asked_for_are_refused() {
        assert!(question(1, "a..b").is_none());
        assert!(question(1, &"a".repeat(64)).is_none());
        assert!(question(1, &vec!["abcdefgh"; 40].join(".")).is_none());
    }

    #[test]
    fn finds_the_name_servers() {
        let found: Vec<_> =
            name_servers("# c\nnameserver 10.0.0.2\nsearch x\n nameserver ::1\nnameserver zork").collect();
        assert_eq!(found, ["10.0.0.2:53".parse().unwrap(), "[::1]:53".parse().unwrap()]);
    }
}
