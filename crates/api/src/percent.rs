//! Percent-encoding (RFC 3986, section 2.1) for header values, query strings and path segments.

/// A `%` that two hexadecimal digits do not follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a '%' at byte {0} is not followed by two hexadecimal digits")]
pub struct PercentError(pub usize);

/// For a header value: everything but visible ASCII is escaped, and `%` itself. Spaces are escaped too,
/// because HTTP trims them at both ends.
#[must_use]
pub fn encode_header(bytes: &[u8]) -> String {
    encode(bytes, |byte| byte.is_ascii_graphic() && byte != b'%')
}

/// For a query value or a path segment: everything but RFC 3986's unreserved characters is escaped.
#[must_use]
pub fn encode_component(bytes: &[u8]) -> String {
    encode(bytes, |byte| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte))
}

fn encode(bytes: &[u8], keep: impl Fn(u8) -> bool) -> String {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    let mut out = String::with_capacity(bytes.len());
    for &byte in bytes {
        if keep(byte) {
            out.push(char::from(byte));
        } else {
            out.push('%');
            out.push(char::from(DIGITS[usize::from(byte >> 4)]));
            out.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
    }
    out
}

/// The bytes behind an encoded text; bytes that are not escaped stand for themselves.
///
/// # Errors
/// [`PercentError`] with the position of the first broken escape.
pub fn decode(text: &[u8]) -> Result<Vec<u8>, PercentError> {
    let digit = |at: usize| text.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        if text[at] == b'%' {
            let (Some(high), Some(low)) = (digit(at + 1), digit(at + 2)) else {
                return Err(PercentError(at));
            };
            out.push(u8::try_from(high * 16 + low).expect("two hexadecimal digits make one byte"));
            at += 3;
        } else {
            out.push(text[at]);
            at += 1;
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_round_trip(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            prop_assert_eq!(&decode(encode_header(&bytes).as_bytes()).unwrap(), &bytes);
            prop_assert_eq!(&decode(encode_component(&bytes).as_bytes()).unwrap(), &bytes);
            prop_assert!(http::HeaderValue::from_str(&encode_header(&bytes)).is_ok());
        }

        #[test]
        fn decoding_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = decode(&bytes);
        }
    }

    #[test]
    fn broken_escapes_are_named() {
        assert_eq!(decode(b"a%4"), Err(PercentError(1)));
        assert_eq!(decode(b"%zz"), Err(PercentError(0)));
        assert_eq!(decode(b"%41b").unwrap(), b"Ab");
    }
}
