//! A reader of requests as strict as RFC 9112 allows one to be: whatever two readers could take differently is a fault.

/// A request that can be read in one way only.
#[derive(Debug, Clone)]
pub(super) struct Canonical {
    pub(super) target: String,
    pub(super) fields: Vec<(String, String)>,
}

/// How a body is framed.
#[derive(Clone, Copy)]
enum Framing {
    None,
    Sized(usize),
    Chunked,
}

impl Canonical {
    /// The values of a field.
    pub(super) fn all<'r>(&'r self, name: &'r str) -> impl Iterator<Item = &'r str> {
        self.fields
            .iter()
            .filter(move |(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }
}

/// The request at the front of what came, and its length. None while it is not whole.
pub(super) fn take(bytes: &[u8]) -> Result<Option<(Canonical, usize)>, String> {
    let Some(end) = find(bytes, b"\r\n\r\n") else {
        return Ok(None);
    };
    let request = head(&bytes[..end + 2])?;
    let body = &bytes[end + 4..];
    let length = match framing(&request)? {
        Framing::None => Some(0),
        Framing::Sized(size) => (body.len() >= size).then_some(size),
        Framing::Chunked => chunks(body)?,
    };
    Ok(length.map(|length| (request, end + 4 + length)))
}

fn head(bytes: &[u8]) -> Result<Canonical, String> {
    let mut lines = lines(bytes)?.into_iter();
    let start = lines.next().ok_or("no request line")?;
    let parts: Vec<&str> = start.split(' ').collect();
    let [method, target, "HTTP/1.1"] = parts[..] else {
        return Err(format!("a request line like {start:?}"));
    };
    if !is_token(method) {
        return Err(format!("a method like {method:?}"));
    }
    let is_plain = |byte: u8| (0x21..0x7f).contains(&byte) && byte != b'#';
    let has_form = target.starts_with('/') || (target == "*" && method == "OPTIONS");
    if !has_form || !target.bytes().all(is_plain) {
        return Err(format!("a target like {target:?}"));
    }
    let fields = lines
        .map(|line| field(&line))
        .collect::<Result<Vec<_>, _>>()?;
    let request = Canonical {
        target: target.to_owned(),
        fields,
    };
    let hosts: Vec<&str> = request.all("host").collect();
    match hosts[..] {
        [host] if !host.is_empty() && !host.contains(['@', '/', '#', '?', ' ', '\\', ',']) => {
            Ok(request)
        }
        _ => Err(format!("hosts like {hosts:?}")),
    }
}

/// Lines that end with CR LF, without a CR or LF of their own. Bytes beyond ASCII are no text, and allowed in values.
fn lines(bytes: &[u8]) -> Result<Vec<String>, String> {
    let text: String = bytes.iter().copied().map(char::from).collect();
    let all = text
        .strip_suffix("\r\n")
        .ok_or("a last line without an end")?;
    let all: Vec<String> = all.split("\r\n").map(ToOwned::to_owned).collect();
    match all.iter().find(|line| line.contains(['\r', '\n', '\0'])) {
        Some(line) => Err(format!("a line like {line:?}")),
        None => Ok(all),
    }
}

fn field(line: &str) -> Result<(String, String), String> {
    let (name, value) = line
        .split_once(':')
        .ok_or_else(|| format!("a field like {line:?}"))?;
    let is_printed = |byte: u8| byte == b'\t' || (byte >= 0x20 && byte != 0x7f);
    if !is_token(name) || name.contains('_') || !value.bytes().all(is_printed) {
        return Err(format!("a field like {line:?}"));
    }
    Ok((name.to_ascii_lowercase(), value.trim().to_owned()))
}

fn is_token(text: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !text.is_empty() && text.bytes().all(allowed)
}

/// One framing field or none; nothing of the connection that would let another reader see a second one.
fn framing(request: &Canonical) -> Result<Framing, String> {
    let sizes: Vec<&str> = request.all("content-length").collect();
    let codings: Vec<&str> = request.all("transfer-encoding").collect();
    for name in ["upgrade", "http2-settings", "te", "proxy-connection"] {
        if let Some(value) = request.all(name).find(|value| *value != "trailers") {
            return Err(format!("{name}: {value} passed on"));
        }
    }
    match (&sizes[..], &codings[..]) {
        ([], []) => Ok(Framing::None),
        ([size], []) if size.bytes().all(|byte| byte.is_ascii_digit()) => {
            // Signed: a number that only fits without a sign is a negative one for some.
            let size: i64 = size.parse().map_err(|_| "a length that is none")?;
            let size = usize::try_from(size).map_err(|_| "a negative length")?;
            Ok(Framing::Sized(size))
        }
        ([], ["chunked"]) => Ok(Framing::Chunked),
        _ => Err(format!("lengths {sizes:?} with codings {codings:?}")),
    }
}

/// The length of a whole chunked body.
fn chunks(bytes: &[u8]) -> Result<Option<usize>, String> {
    let mut at = 0;
    loop {
        let Some(end) = find(&bytes[at..], b"\r\n") else {
            return Ok(None);
        };
        let digits = &bytes[at..at + end];
        let text = std::str::from_utf8(digits).map_err(|_| "a size that is no text")?;
        if text.is_empty() || text.len() > 15 || !text.bytes().all(|byte| byte.is_ascii_hexdigit())
        {
            return Err(format!("a chunk's size like {text:?}"));
        }
        let size = usize::from_str_radix(text, 16).map_err(|_| "a size that is none")?;
        at += end + 2;
        if size == 0 {
            return trailers(&bytes[at..]).map(|length| length.map(|length| at + length));
        }
        let Some(rest) = bytes.get(at + size..at + size + 2) else {
            return Ok(None);
        };
        if rest != b"\r\n" {
            return Err("a chunk that is longer than its size".into());
        }
        at += size + 2;
    }
}

fn trailers(bytes: &[u8]) -> Result<Option<usize>, String> {
    if bytes.starts_with(b"\r\n") {
        return Ok(Some(2));
    }
    let Some(end) = find(bytes, b"\r\n\r\n") else {
        return Ok(None);
    };
    for line in lines(&bytes[..end + 2])? {
        let (name, _) = field(&line)?;
        let is_framing = [
            "content-length",
            "transfer-encoding",
            "host",
            "authorization",
        ];
        if is_framing.contains(&name.as_str()) {
            return Err(format!("a trailer like {line:?}"));
        }
    }
    Ok(Some(end + 4))
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|found| found == what)
}
