//! The text of UUIDs (RFC 9562) and their bytes: storage keys have the bytes, which take less than half the room.

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// The usual text of a UUID, in lower case.
pub fn uuid_text(bytes: [u8; 16]) -> String {
    let digit = |nibble: u8| char::from(DIGITS.get(usize::from(nibble)).copied().unwrap_or_default());
    let mut text = String::with_capacity(36);
    for (at, byte) in bytes.into_iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push(digit(byte >> 4));
        text.push(digit(byte & 0xf));
    }
    text
}

/// The bytes of a UUID in exactly the text that [`uuid_text`] makes: an id has one spelling.
pub fn uuid_bytes(text: &str) -> Option<[u8; 16]> {
    if text.len() != 36 {
        return None;
    }
    let mut bytes = [0; 16];
    let mut digits = 0_usize;
    for (at, digit) in text.bytes().enumerate() {
        if matches!(at, 8 | 13 | 18 | 23) {
            if digit != b'-' {
                return None;
            }
            continue;
        }
        let value = match digit {
            b'0'..=b'9' => digit.wrapping_sub(b'0'),
            b'a'..=b'f' => digit.wrapping_sub(b'a').wrapping_add(10),
            _ => return None,
        };
        let byte = bytes.get_mut(digits / 2)?;
        *byte = (*byte << 4) | value;
        digits = digits.wrapping_add(1);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_uuid_comes_back_from_its_text() {
        let bytes: [u8; 16] = std::array::from_fn(|at| u8::try_from(at * 17).unwrap());
        let text = uuid_text(bytes);
        assert_eq!(text, "00112233-4455-6677-8899-aabbccddeeff");
        assert_eq!(uuid_bytes(&text), Some(bytes));
    }

    #[test]
    fn an_id_has_one_spelling() {
        for text in [
            "",
            "00112233-4455-6677-8899-aabbccddeef",
            "00112233-4455-6677-8899-aabbccddeeff0",
            "00112233-4455-6677-8899-AABBCCDDEEFF",
            "00112233-4455-6677-8899-aabbccddeefg",
            "0011223344556677-8899-aabbccddeeff-00",
            "00112233_4455-6677-8899-aabbccddeeff",
        ] {
            assert_eq!(uuid_bytes(text), None, "{text}");
        }
    }
}
