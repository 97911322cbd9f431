//! Numbers as they were written.

use std::fmt;

/// A number, kept as its text so that no digit is lost: `10`, `-3`, `0x1F`, `0755` (octal), `1.5`, `2e10`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Number(String);

impl Number {
    /// Takes a text that the lexers have checked to be a number.
    pub(crate) fn from_checked(text: &str) -> Number {
        Number(text.to_owned())
    }

    /// The number as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True unless the number has a fraction or an exponent.
    pub fn is_integer(&self) -> bool {
        self.magnitude().2 != 10 || !self.0.contains(['.', 'e', 'E'])
    }

    /// The value of an integer; `None` for a fraction or a number beyond 128 bits.
    pub fn as_i128(&self) -> Option<i128> {
        let (negative, digits, radix) = self.magnitude();
        let magnitude = i128::from_str_radix(digits, radix).ok()?;
        Some(if negative { magnitude.checked_neg()? } else { magnitude })
    }

    /// The value, if it is an integer of 64 bits with sign.
    pub fn as_i64(&self) -> Option<i64> {
        self.as_i128()?.try_into().ok()
    }

    /// The value, if it is an integer of 64 bits without sign.
    pub fn as_u64(&self) -> Option<u64> {
        self.as_i128()?.try_into().ok()
    }

    /// The value as the nearest floating-point number; `None` if it is beyond its range.
    pub fn as_f64(&self) -> Option<f64> {
        let (negative, digits, radix) = self.magnitude();
        let magnitude = if radix == 10 {
            digits.parse::<f64>().ok()?
        } else {
            digits
                .chars()
                .filter_map(|c| c.to_digit(radix))
                .fold(0.0, |sum, digit| f64::mul_add(sum, f64::from(radix), f64::from(digit)))
        };
        magnitude.is_finite().then_some(if negative { -magnitude } else { magnitude })
    }

    /// The number in JSON. An integer of any size stays exact; so do the digits of a fraction.
    pub fn to_json(&self) -> serde_json::Value {
        let text = match self.as_i128() {
            Some(integer) => integer.to_string(),
            None => self.0.clone(),
        };
        // `.5`, `1.` and hexadecimal numbers beyond 128 bits are not in JSON's grammar.
        serde_json::from_str(&text).unwrap_or_else(|_| self.as_f64().into())
    }

    /// Sign, digits and radix.
    fn magnitude(&self) -> (bool, &str, u32) {
        let (negative, digits) = match self.0.strip_prefix('-') {
            Some(digits) => (true, digits),
            None => (false, self.0.as_str()),
        };
        if let Some(hexadecimal) = digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
            return (negative, hexadecimal, 16);
        }
        match digits.strip_prefix('0') {
            Some(octal) if !octal.is_empty() && octal.bytes().all(|b| b.is_ascii_digit()) => {
                (negative, octal, 8)
            }
            _ => (negative, digits, 10),
        }
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
