//! Bodies of forms, as browsers send them.

pub(crate) const CONTENT_TYPE: &str = "multipart/form-data; boundary=a--boundary";

/// A part of a form: its name, and for a file the name and type of that.
#[derive(Clone, Copy)]
pub(crate) struct Part<'a> {
    pub(crate) name: &'a str,
    pub(crate) file_name: Option<&'a str>,
    pub(crate) content_type: Option<&'a str>,
    pub(crate) content: &'a [u8],
}

impl<'a> Part<'a> {
    pub(crate) fn file(file_name: &'a str, content: &'a [u8]) -> Part<'a> {
        Part {
            name: "file",
            file_name: Some(file_name),
            content_type: None,
            content,
        }
    }

    pub(crate) fn text(name: &'a str, content: &'a str) -> Part<'a> {
        Part {
            name,
            file_name: None,
            content_type: None,
            content: content.as_bytes(),
        }
    }
}

pub(crate) fn form(parts: &[Part<'_>]) -> Vec<u8> {
    let mut body = Vec::new();
    for part in parts {
        let mut head = format!(
            "--a--boundary\r\nContent-Disposition: form-data; name=\"{}\"",
            part.name
        );
        if let Some(name) = part.file_name {
            head += &format!("; filename=\"{name}\"");
        }
        if let Some(content_type) = part.content_type {
            head += &format!("\r\nContent-Type: {content_type}");
        }
        body.extend_from_slice(head.as_bytes());
        body.extend_from_slice(b"\r\n\r\n");
        body.extend_from_slice(part.content);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"--a--boundary--\r\n");
    body
}
