//! Bundles from a web server.

use std::path::Path;
use std::time::Duration;

use model_bundle::container::MAX_FILE_SIZE;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

use crate::error::Error;

/// Longest time to connect, and for a server to begin its answer.
const CONNECT: Duration = Duration::from_secs(30);
/// Longest time for the whole of a bundle, over a slow link.
const WHOLE: Duration = Duration::from_secs(3600);

/// Whether a source of a bundle is an address rather than a file.
pub fn is_url(source: &str) -> bool {
    source.starts_with("https://") || source.starts_with("http://")
}

/// Fetches a bundle. Nothing of it is trusted: it is verified by whoever installs it. `https` is
/// checked against the certificates in `ca_file`, or the system's. Redirects are not followed, so
/// that an address which was allowed does not lead to another.
///
/// # Errors
/// If the server is away, its certificate is not trusted, it answers with anything but 200, or the
/// answer is larger than a bundle may be.
pub fn fetch(url: &str, ca_file: Option<&Path>) -> Result<Vec<u8>, Error> {
    // Named here because rustls refuses to choose where a build has two providers. An error means
    // that it has been named before.
    let _ = rumqttc::tokio_rustls::rustls::crypto::aws_lc_rs::default_provider().install_default();
    let tls = TlsConfig::builder().root_certs(roots(ca_file)?).build();
    let agent = ureq::Agent::config_builder()
        .tls_config(tls)
        .timeout_connect(Some(CONNECT))
        .timeout_recv_response(Some(CONNECT))
        .timeout_global(Some(WHOLE))
        .max_redirects(0)
        .build()
        .new_agent();
    let away = |e: ureq::Error| {
        Error::Unavailable(format!(
            "{url}: {e}; check the address, the server and `updates.ca_file`"
        ))
    };
    let mut answer = agent.get(url).call().map_err(away)?;
    if answer.status() != 200 {
        let status = answer.status();
        return Err(Error::Unavailable(format!("{url}: the server answers {status}, not 200")));
    }
    answer.body_mut().with_config().limit(MAX_FILE_SIZE).read_to_vec().map_err(away)
}

fn roots(ca_file: Option<&Path>) -> Result<RootCerts, Error> {
    let certificates: Vec<Certificate<'static>> = match ca_file {
        Some(path) => {
            let pem = std::fs::read(path).map_err(|e| {
                Error::Usage(format!("{}: {e}; check `updates.ca_file`", path.display()))
            })?;
            let found: Vec<_> = parse_pem(&pem)
                .filter_map(|item| match item {
                    Ok(PemItem::Certificate(certificate)) => Some(certificate),
                    _ => None,
                })
                .collect();
            if found.is_empty() {
                let message = format!("{}: holds no certificate in PEM form", path.display());
                return Err(Error::Usage(message));
            }
            found
        }
        None => rustls_native_certs::load_native_certs()
            .certs
            .iter()
            .map(|der| Certificate::from_der(der).to_owned())
            .collect(),
    };
    Ok(RootCerts::new_with_certs(&certificates))
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use super::*;

    /// Answers one request with these bytes.
    fn serve(answer: &'static [u8]) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/m.pavad", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(answer);
        });
        url
    }

    #[test]
    fn what_a_server_may_answer() {
        let whole = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nbundle";
        assert_eq!(fetch(&serve(whole), None).unwrap(), b"bundle");
        for (answer, part) in [
            (&b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"[..], "404"),
            (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/\r\nContent-Length: 0\r\n\r\n", ""),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nbundle", ""),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\nbundle", ""),
            (b"\0\xff", ""),
        ] {
            let url = serve(answer);
            let error = fetch(&url, None).unwrap_err();
            assert_eq!(error.exit_code(), 4);
            let error = error.to_string();
            assert!(error.starts_with(&url) && error.contains(part), "{error}");
        }
        assert!(is_url("https://a/b") && is_url("http://a/b") && !is_url("/a/b.pavad"));
    }
}
