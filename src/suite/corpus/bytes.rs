//! From the bytes of a file to its text: unpacked, and in the encoding that it has or is said to have.

use std::io::Read;

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{DecoderResult, Encoding, UTF_8};
use flate2::read::MultiGzDecoder;

use crate::units::{Bytes, did_you_mean};

/// What a compressed file may grow to.
const MOST_UNPACKED: u64 = 8 << 30;

const GZIP: &str = ".gz";

/// Encodings by names that people use, for a hint at a slip.
const NAMES: [&str; 8] =
    ["utf-8", "latin1", "windows-1252", "iso-8859-15", "utf-16le", "utf-16be", "shift_jis", "gbk"];

/// The name of a file without its compression, and its text.
pub fn text(name: &str, bytes: Vec<u8>, encoding: Option<&str>) -> Result<(String, String), String> {
    let (name, bytes) = match name.strip_suffix(GZIP) {
        Some(inside) => (inside.to_owned(), unpacked(name, &bytes)?),
        None => (name.to_owned(), bytes),
    };
    let text = match encoding {
        Some(encoding) => decoded(&name, &bytes, encoding)?,
        None => utf8(&name, bytes)?,
    };
    match text.find('\0') {
        None => Ok((name, text)),
        Some(byte) => Err(format!(
            "{}: byte {} is NUL, which no text has: the file is binary, or its encoding isn't {}",
            place(&name, &text.as_bytes()[..byte]),
            byte + 1,
            encoding.unwrap_or("UTF-8"),
        )),
    }
}

fn unpacked(name: &str, bytes: &[u8]) -> Result<Vec<u8>, String> {
    let mut unpacked = Vec::new();
    let read = MultiGzDecoder::new(bytes).take(MOST_UNPACKED + 1).read_to_end(&mut unpacked);
    read.map_err(|error| format!("{name} can't be unpacked: {error}"))?;
    if unpacked.len() as u64 > MOST_UNPACKED {
        return Err(format!("{name} unpacks to more than {}", Bytes(MOST_UNPACKED)));
    }
    Ok(unpacked)
}

fn utf8(name: &str, bytes: Vec<u8>) -> Result<String, String> {
    const MARK: &[u8] = "\u{feff}".as_bytes();
    let marked = bytes.starts_with(MARK);
    match String::from_utf8(bytes) {
        Ok(text) if marked => Ok(text[MARK.len()..].to_owned()),
        Ok(text) => Ok(text),
        Err(error) => {
            let (byte, bytes) = (error.utf8_error().valid_up_to(), error.as_bytes());
            Err(format!(
                "{}: byte {} isn't UTF-8. The file looks like {likely}: if it is, say so: --encoding {likely}, or encoding = {likely:?} in a suite",
                place(name, &bytes[..byte]),
                byte + 1,
                likely = likely(bytes),
            ))
        }
    }
}

/// The encoding that bytes are most likely of, as a suite names it.
fn likely(bytes: &[u8]) -> String {
    let marked = Encoding::for_bom(bytes).map(|(encoding, _)| encoding);
    let guessed = || {
        let mut detector = EncodingDetector::new(Iso2022JpDetection::Deny);
        detector.feed(bytes, true);
        detector.guess(None, Utf8Detection::Deny)
    };
    marked.unwrap_or_else(guessed).name().to_ascii_lowercase()
}

fn decoded(name: &str, bytes: &[u8], wanted: &str) -> Result<String, String> {
    let unknown = || format!("unknown encoding {wanted:?}{}", did_you_mean(wanted, NAMES));
    // People also write latin-1.
    let without_dash = wanted.replace('-', "");
    let encoding =
        Encoding::for_label(wanted.as_bytes()).or_else(|| Encoding::for_label(without_dash.as_bytes()));
    let encoding = encoding.ok_or_else(unknown)?;
    if encoding == UTF_8 {
        return utf8(name, bytes.to_vec());
    }
    let mut decoder = encoding.new_decoder_with_bom_removal();
    let mut text = String::with_capacity(decoder.max_utf8_buffer_length(bytes.len()).unwrap_or(bytes.len()));
    match decoder.decode_to_string_without_replacement(bytes, &mut text, true) {
        (DecoderResult::InputEmpty, _) => Ok(text),
        (_, read) => Err(format!("{}: byte {read} isn't {wanted}", place(name, &bytes[..read]))),
    }
}

/// A file with the line that comes after so many bytes of it.
fn place(name: &str, before: &[u8]) -> String {
    format!("{name}:{}", before.iter().filter(|byte| **byte == b'\n').count() + 1)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    fn plain(bytes: &[u8], encoding: Option<&str>) -> Result<String, String> {
        text("a.txt", bytes.to_vec(), encoding).map(|(_, text)| text)
    }

    #[test]
    fn text_is_read_in_the_encoding_that_it_has() {
        assert_eq!(plain("\u{feff}été".as_bytes(), None).unwrap(), "été");
        assert_eq!(plain("été".as_bytes(), Some("utf-8")).unwrap(), "été");
        assert_eq!(plain(b"\xe9t\xe9", Some("latin1")).unwrap(), "été");
        assert_eq!(plain(b"\xff\xfee\0\xe9\0", Some("utf-16le")).unwrap(), "eé");
    }

    #[test]
    fn another_encoding_is_named_with_the_byte_and_what_it_looks_like() {
        let text = "first\nl'été à la montagne, c'est déjà l'automne";
        let latin: Vec<u8> = text.chars().map(|character| character as u8).collect();
        let error = plain(&latin, None).unwrap_err();
        assert!(error.starts_with("a.txt:2: byte 9 isn't UTF-8."), "{error}");
        assert!(error.contains("encoding = \"windows-1252\""), "{error}");
        let error = plain(b"\xff\xfee\0", None).unwrap_err();
        assert!(error.contains("utf-16le"), "{error}");
        assert!(plain(b"x", Some("latin")).unwrap_err().contains("did you mean \"latin1\"?"));
        let error = plain(b"ab\n\x81\x20", Some("shift_jis")).unwrap_err();
        assert!(error.starts_with("a.txt:2: byte ") && error.ends_with("isn't shift_jis"), "{error}");
    }

    #[test]
    fn nul_is_no_text() {
        let error = plain(b"one\ntwo\0", None).unwrap_err();
        assert!(error.starts_with("a.txt:2: byte 8 is NUL"), "{error}");
    }

    #[test]
    fn what_is_compressed_is_unpacked() {
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        packed.write_all("été".as_bytes()).unwrap();
        let packed = packed.finish().unwrap();
        assert_eq!(text("a.csv.gz", packed.clone(), None).unwrap(), ("a.csv".to_owned(), "été".to_owned()));
        let error = text("a.csv.gz", packed[..10].to_vec(), None).unwrap_err();
        assert!(error.starts_with("a.csv.gz can't be unpacked"), "{error}");
    }
}
