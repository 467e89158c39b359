//! A request, as far as this server wants to know it.

/// Longest head of a request, in bytes.
pub const MAX_HEAD: usize = 8192;
/// Longest body, in bytes: a number or a word.
pub const MAX_BODY: usize = 256;
const MAX_HEADERS: usize = 48;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// `GET`.
    Get,
    /// `HEAD`.
    Head,
    /// `POST`.
    Post,
}

/// Why a request is not answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// It ended before it began.
    #[error("closed")]
    Closed,
    /// It is not HTTP/1.
    #[error("the request is malformed")]
    Malformed,
    /// It is too large.
    #[error("the request is too large")]
    TooLarge,
    /// It did not come in time.
    #[error("the request took too long")]
    TooSlow,
    /// It asks with a method that is not served.
    #[error("only GET, HEAD and POST are served")]
    Method,
}

impl RequestError {
    /// The status line's code and reason.
    pub fn status(self) -> &'static str {
        match self {
            Self::Closed | Self::Malformed => "400 Bad Request",
            Self::TooLarge => "413 Content Too Large",
            Self::TooSlow => "408 Request Timeout",
            Self::Method => "405 Method Not Allowed",
        }
    }
}

/// A whole request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The path, without the query; never decoded, as no name that is served needs it.
    pub path: String,
    query: String,
    /// The `Host` header.
    pub host: Option<String>,
    /// The token of an `Authorization: Bearer` header.
    pub bearer: Option<String>,
    /// The value of the cookie `pavad`.
    pub cookie: Option<String>,
    /// Whether there is a header `X-Pavad`.
    pub has_header: bool,
    /// The body.
    pub body: Vec<u8>,
}

impl Request {
    /// Reads a request from the bytes that have come so far; `None` if more are to come.
    ///
    /// # Errors
    /// If it can no longer become a request that is served.
    pub fn parse(bytes: &[u8]) -> Result<Option<Self>, RequestError> {
        let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
        let mut head = httparse::Request::new(&mut headers);
        let length = match head.parse(bytes) {
            Ok(httparse::Status::Complete(length)) => length,
            Ok(httparse::Status::Partial) if bytes.len() > MAX_HEAD => {
                return Err(RequestError::TooLarge);
            }
            Ok(httparse::Status::Partial) => return Ok(None),
            Err(httparse::Error::TooManyHeaders) => return Err(RequestError::TooLarge),
            Err(_) => return Err(RequestError::Malformed),
        };
        if length > MAX_HEAD {
            return Err(RequestError::TooLarge);
        }
        let method = match head.method {
            Some("GET") => Method::Get,
            Some("HEAD") => Method::Head,
            Some("POST") => Method::Post,
            _ => return Err(RequestError::Method),
        };
        let target = head.path.unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut request = Self {
            method,
            path: path.to_owned(),
            query: query.to_owned(),
            host: None,
            bearer: None,
            cookie: None,
            has_header: false,
            body: Vec::new(),
        };
        let mut body = 0;
        for header in head.headers.iter() {
            let text = std::str::from_utf8(header.value).map_err(|_| RequestError::Malformed)?;
            match header.name.to_ascii_lowercase().as_str() {
                "host" => request.host = Some(text.to_ascii_lowercase()),
                "authorization" => request.bearer = text.strip_prefix("Bearer ").map(String::from),
                "cookie" => {
                    let pairs = text.split(';').filter_map(|pair| pair.trim().split_once('='));
                    let mut own =
                        pairs.filter(|(name, _)| *name == "pavad").map(|(_, value)| value);
                    request.cookie = own.next_back().map(String::from);
                }
                "x-pavad" => request.has_header = true,
                "content-length" => body = text.parse().map_err(|_| RequestError::Malformed)?,
                // A body whose length is not told first is not needed here.
                "transfer-encoding" => return Err(RequestError::Malformed),
                _ => {}
            }
        }
        if body > MAX_BODY {
            return Err(RequestError::TooLarge);
        }
        match bytes.get(length..length + body) {
            Some(content) => {
                request.body = content.to_vec();
                Ok(Some(request))
            }
            None => Ok(None),
        }
    }

    /// A value of the query.
    pub fn query(&self, name: &str) -> Option<&str> {
        let pairs = self.query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.rev().find(|(key, _)| *key == name).map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_byte_by_byte() {
        let text =
            b"POST /api/cameras/door/threshold?token=t&x=1 HTTP/1.1\r\nHost: LocalHost:80\r\n\
                     Authorization: Bearer abc\r\nCookie: a=b; pavad=c\r\nX-Pavad: 1\r\n\
                     Content-Length: 4\r\n\r\n0.75";
        for cut in 0..text.len() {
            assert_eq!(Request::parse(&text[..cut]), Ok(None), "{cut}");
        }
        let request = Request::parse(text).unwrap().unwrap();
        assert_eq!((request.method, &*request.path), (Method::Post, "/api/cameras/door/threshold"));
        assert_eq!((request.query("token"), request.query("y")), (Some("t"), None));
        assert_eq!(request.host.as_deref(), Some("localhost:80"));
        assert_eq!(
            (request.bearer.as_deref(), request.cookie.as_deref()),
            (Some("abc"), Some("c"))
        );
        assert!(request.has_header);
        assert_eq!(request.body, b"0.75");
    }

    #[test]
    fn what_is_refused() {
        let long = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(MAX_HEAD));
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(MAX_HEADERS + 1));
        for (text, error) in [
            ("DELETE / HTTP/1.1\r\n\r\n", RequestError::Method),
            ("GET / HTTP/9.1\r\n\r\n", RequestError::Malformed),
            ("\u{16}\u{3}\u{1}\u{2}", RequestError::Malformed),
            ("POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n", RequestError::Malformed),
            ("POST / HTTP/1.1\r\nContent-Length: 257\r\n\r\n", RequestError::TooLarge),
            ("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", RequestError::Malformed),
            (&long, RequestError::TooLarge),
            (&many, RequestError::TooLarge),
        ] {
            assert_eq!(Request::parse(text.as_bytes()), Err(error), "{text:.60}");
        }
    }
}
