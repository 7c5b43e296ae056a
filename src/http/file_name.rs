//! The name of a file in a form, as `Content-Disposition` has it: RFC 6266 and RFC 7578, and RFC 8187 for `filename*`, which
//! some clients send for a name of other than ASCII.

use percent_encoding::percent_decode;

use super::problem::{Answer, Problem};

/// The name of the file in a part, `None` for a part that is none. `filename*` goes before `filename`, which then is for those
/// who cannot read it.
///
/// # Errors
/// 400 for a name that cannot be read: the file is not to be taken for a field, and passed over.
pub(super) fn file_name(disposition: &[u8]) -> Answer<Option<String>> {
    let (mut extended, mut plain, mut is_named) = (None, None, false);
    let mut rest = disposition;
    while let Some(start) = rest.iter().position(|byte| *byte == b';') {
        let (name, value, behind) = parameter(&rest[start + 1..]);
        // Also in pieces, RFC 2231, which nobody sends in a form.
        is_named |= name == "filename" || name.starts_with("filename*");
        match name.as_str() {
            "filename*" => extended = extended.or(value.and_then(decoded)),
            "filename" => plain = plain.or(value.and_then(|value| String::from_utf8(value).ok())),
            _ => {}
        }
        rest = behind;
    }
    match extended.or(plain) {
        None if is_named => Err(Problem::bad_request(
            "the name of a file in the form cannot be read: it has to be UTF-8",
        )),
        name => Ok(name),
    }
}

/// A parameter in lower case, its value, and what is behind it. `None` for a value that is not there, or has no end.
fn parameter(text: &[u8]) -> (String, Option<Vec<u8>>, &[u8]) {
    let end = text.iter().position(|byte| matches!(byte, b'=' | b';'));
    let (name, rest) = text.split_at(end.unwrap_or(text.len()));
    let name = String::from_utf8_lossy(name.trim_ascii()).to_ascii_lowercase();
    let Some(rest) = rest.strip_prefix(b"=") else {
        return (name, None, rest);
    };
    let (value, behind) = match rest.trim_ascii_start().strip_prefix(b"\"") {
        Some(rest) => quoted(rest),
        None => {
            let end = rest.iter().position(|byte| *byte == b';');
            let (value, behind) = rest.split_at(end.unwrap_or(rest.len()));
            (Some(value.trim_ascii().to_owned()), behind)
        }
    };
    (name, value, behind)
}

/// A text up to the `"` that ends it. A `\` is part of it unless a `"` follows: paths of Windows come as they are.
fn quoted(mut rest: &[u8]) -> (Option<Vec<u8>>, &[u8]) {
    let mut text = Vec::new();
    while let Some((first, behind)) = rest.split_first() {
        rest = match (first, behind.strip_prefix(b"\"")) {
            (b'"', _) => return (Some(text), behind),
            (b'\\', Some(behind)) => {
                text.push(b'"');
                behind
            }
            _ => {
                text.push(*first);
                behind
            }
        };
    }
    (None, rest)
}

/// The text of a `charset'language'encoded`.
fn decoded(value: Vec<u8>) -> Option<String> {
    let mut parts = value.splitn(3, |byte| *byte == b'\'');
    let (charset, _, encoded) = (parts.next()?, parts.next()?, parts.next()?);
    let is_utf8 = charset.eq_ignore_ascii_case(b"UTF-8");
    let text = percent_decode(encoded).decode_utf8().ok();
    text.filter(|_| is_utf8).map(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_however_they_are_written() {
        for (sent, expected) in [
            ("form-data", Ok(None)),
            ("form-data; name=a", Ok(None)),
            ("form-data; name=\"a; filename=b\"", Ok(None)),
            ("form-data; name=\"a\\\"; filename=b\"", Ok(None)),
            ("form-data; filename=\"\"", Ok(Some(""))),
            ("form-data; filename=a b.txt ; name=c", Ok(Some("a b.txt"))),
            ("form-data;FileName = \"a\";name=\"c\"", Ok(Some("a"))),
            (
                "form-data; filename=\"a;b\\\"c.txt\"",
                Ok(Some("a;b\"c.txt")),
            ),
            ("form-data; filename=\"C:\\a\\b\"", Ok(Some("C:\\a\\b"))),
            ("form-data; filename=\"%C3%9C\"", Ok(Some("%C3%9C"))),
            ("form-data; filename=a; filename=b", Ok(Some("a"))),
            (
                "form-data; filename=a; filename*=UTF-8'en'%C3%9c'",
                Ok(Some("\u{dc}'")),
            ),
            ("form-data; filename*=\"utf-8''a\"", Ok(Some("a"))),
            ("form-data; filename*=utf-16''a; filename=b", Ok(Some("b"))),
            ("form-data; filename*=utf-16''a", Err(400)),
            ("form-data; filename*=a", Err(400)),
            ("form-data; filename*0=a", Err(400)),
            ("form-data; filename", Err(400)),
            ("form-data; filename; name=\"a\"", Err(400)),
            ("form-data; filename=\"a", Err(400)),
        ] {
            let found = file_name(sent.as_bytes()).map_err(|refused| refused.status().as_u16());
            let expected = expected.map(|name: Option<&str>| name.map(str::to_owned));
            assert_eq!(found, expected, "{sent}");
        }
        assert!(file_name(b"form-data; filename=\"\xdc\"").is_err());
    }
}
