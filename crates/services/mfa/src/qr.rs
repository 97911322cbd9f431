//! QR codes as PNG images, black on white.
//!
//! The image format is written here: one bit a pixel, compressed, which is all that it takes.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use qrcode::{Color, EcLevel, QrCode};
use strongroom_engine_api::{EngineError, Secret};

/// White modules around a code, without which readers do not find it.
const MARGIN: usize = 4;
const SIGNATURE: [u8; 8] = [0x89, b'P', b'N', b'G', 0x0d, 0x0a, 0x1a, 0x0a];

/// A QR code of `text` as a PNG of about `size` pixels: a whole number of pixels a module, and at least one.
pub(crate) fn png(text: &str, size: usize) -> Result<Secret<Vec<u8>>, EngineError> {
    let failed = |why: String| EngineError::Internal(format!("no QR code: {why}"));
    let code = [EcLevel::M, EcLevel::L]
        .into_iter()
        .find_map(|level| QrCode::with_error_correction_level(text, level).ok())
        .ok_or_else(|| failed("the text is too long".to_owned()))?;
    let width = code.width();
    let modules = width.saturating_add(MARGIN.saturating_mul(2));
    let scale = size.checked_div(modules).unwrap_or_default().max(1);
    let colors = code.to_colors();
    let is_dark = |x: usize, y: usize| {
        let place = |at: usize| at.checked_sub(MARGIN).filter(|at| *at < width);
        let at = place(x).zip(place(y)).map(|(x, y)| y.saturating_mul(width).saturating_add(x));
        at.and_then(|at| colors.get(at)).is_some_and(|color| *color == Color::Dark)
    };
    image(modules, scale, is_dark).map_err(|error| failed(error.to_string()))
}

/// An image of so many modules a side, each so many pixels wide.
fn image(
    modules: usize,
    scale: usize,
    is_dark: impl Fn(usize, usize) -> bool,
) -> std::io::Result<Secret<Vec<u8>>> {
    let side = modules.saturating_mul(scale);
    let mut pixels = ZlibEncoder::new(Vec::new(), Compression::default());
    for y in 0..modules {
        // Each row begins with the number of its filter: none.
        let mut row = vec![0_u8];
        let (mut byte, mut bits) = (0_u8, 0_u8);
        for x in 0..side {
            let dark = x.checked_div(scale).is_some_and(|x| is_dark(x, y));
            byte = byte << 1 | u8::from(!dark);
            bits = bits.saturating_add(1);
            if bits == 8 {
                row.push(byte);
                (byte, bits) = (0, 0);
            }
        }
        if bits > 0 {
            row.push(byte << 8_u8.saturating_sub(bits));
        }
        for _ in 0..scale {
            pixels.write_all(&row)?;
        }
    }
    let side = u32::try_from(side).map_err(std::io::Error::other)?.to_be_bytes();
    let mut png = SIGNATURE.to_vec();
    // One bit of gray a pixel; deflate; no filters; not interlaced.
    chunk(&mut png, *b"IHDR", &[&side[..], &side[..], &[1, 0, 0, 0, 0]].concat())?;
    chunk(&mut png, *b"IDAT", &pixels.finish()?)?;
    chunk(&mut png, *b"IEND", &[])?;
    Ok(Secret::new(png))
}

fn chunk(png: &mut Vec<u8>, kind: [u8; 4], content: &[u8]) -> std::io::Result<()> {
    let len = u32::try_from(content.len()).map_err(std::io::Error::other)?;
    png.extend_from_slice(&len.to_be_bytes());
    let mut sum = crc32fast::Hasher::new();
    for part in [&kind[..], content] {
        sum.update(part);
        png.extend_from_slice(part);
    }
    png.extend_from_slice(&sum.finalize().to_be_bytes());
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn an_image_has_the_size_asked_for_and_its_code() {
        let text = "otpauth://totp/a:b?secret=MZXW6YTBOI";
        let code = QrCode::with_error_correction_level(text, EcLevel::M).unwrap();
        let modules = code.width() + 8;
        for size in [0, 50, 200, 333] {
            let png = png(text, size).unwrap();
            let png = png.expose();
            assert_eq!(png[..8], SIGNATURE);
            let scale = (size / modules).max(1);
            let side = u32::from_be_bytes(png[16..20].try_into().unwrap()) as usize;
            assert_eq!(side, modules * scale);
            let idat = u32::from_be_bytes(png[33..37].try_into().unwrap()) as usize;
            assert_eq!(&png[37..41], b"IDAT");
            let mut pixels = Vec::new();
            flate2::read::ZlibDecoder::new(&png[41..41 + idat]).read_to_end(&mut pixels).unwrap();
            let row = side.div_ceil(8) + 1;
            assert_eq!(pixels.len(), row * side);
            for y in 0..code.width() {
                for x in 0..code.width() {
                    let (px, py) = ((x + 4) * scale, (y + 4) * scale);
                    let white = pixels[py * row + 1 + px / 8] >> (7 - px % 8) & 1 == 1;
                    assert_eq!(white, code[(x, y)] == Color::Light);
                }
            }
            assert!(pixels[1..row - 1].iter().all(|byte| *byte == 0xff), "a margin above");
        }
    }

    #[test]
    fn what_no_code_holds_is_an_error() {
        assert!(png(&"x".repeat(5000), 200).is_err());
    }
}
