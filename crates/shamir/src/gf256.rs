//! Arithmetic in GF(2^8) modulo x^8 + x^4 + x^3 + x + 1 (0x11b, the AES field).
//!
//! Operands are key material, so nothing here branches on them or indexes a
//! table with them: a look-up table would leak through the cache.

/// The reduction polynomial without its x^8 term.
const REDUCTION: u8 = 0x1b;

/// Addition, which is also subtraction.
pub(crate) const fn add(a: u8, b: u8) -> u8 {
    a ^ b
}

/// Multiplication: eight steps of shift and masked add.
pub(crate) const fn mul(a: u8, b: u8) -> u8 {
    let mut product = 0;
    let mut a = a;
    let mut b = b;
    let mut step = 0_u8;
    while step < 8 {
        product ^= a & mask(b & 1);
        let overflow = mask(a >> 7);
        a = (a << 1) ^ (REDUCTION & overflow);
        b >>= 1;
        step = step.wrapping_add(1);
    }
    product
}

/// The multiplicative inverse, as the 254th power; 0 gives 0.
pub(crate) const fn inverse(a: u8) -> u8 {
    // 254 = 2 + 4 + 8 + 16 + 32 + 64 + 128.
    let mut power = mul(a, a);
    let mut result = power;
    let mut step = 0_u8;
    while step < 6 {
        power = mul(power, power);
        result = mul(result, power);
        step = step.wrapping_add(1);
    }
    result
}

/// All ones for 1, zero for 0.
const fn mask(bit: u8) -> u8 {
    bit.wrapping_neg()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Schoolbook: multiply the polynomials, then divide by 0x11b.
    fn slow_mul(a: u8, b: u8) -> u8 {
        let mut wide: u16 = 0;
        for bit in 0..8 {
            if b >> bit & 1 == 1 {
                wide ^= u16::from(a) << bit;
            }
        }
        for shift in (0..8).rev() {
            if wide >> shift & 0x100 != 0 {
                wide ^= 0x11b << shift;
            }
        }
        u8::try_from(wide).unwrap()
    }

    #[test]
    fn multiplication_agrees_with_long_division_for_every_pair() {
        for a in 0..=255 {
            for b in 0..=255 {
                assert_eq!(mul(a, b), slow_mul(a, b), "{a} * {b}");
            }
        }
    }

    #[test]
    fn known_products_of_the_aes_specification() {
        // FIPS 197, section 4.2 and 4.2.1.
        assert_eq!(mul(0x57, 0x83), 0xc1);
        assert_eq!(mul(0x57, 0x13), 0xfe);
    }

    #[test]
    fn every_element_but_zero_has_an_inverse() {
        assert_eq!(inverse(0), 0);
        for a in 1..=255 {
            assert_eq!(mul(a, inverse(a)), 1, "{a}");
        }
    }
}
