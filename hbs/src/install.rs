//! `/install.sh`: the script that installs an agent from this hbs, with the address that the host has used.

use std::path::{Path, PathBuf};

use axum::Router;
use axum::extract::State;
use axum::http::header::{CONTENT_TYPE, HOST};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

const SCRIPT: &str = include_str!("../../scripts/install.sh");
/// Made by `scripts/package`, beside the archives that it names.
const SUMS: &str = "SHA256SUMS";
/// A name of 253 bytes and a port.
const HOST_BYTES_MAX: usize = 259;

/// The route; `files` is the folder of `hbs.upgrade.files`.
pub(crate) fn routes(files: PathBuf) -> Router {
    Router::new().route("/install.sh", get(serve)).with_state(files)
}

async fn serve(State(files): State<PathBuf>, headers: HeaderMap) -> Response {
    let host = headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    if !is_host(host) {
        let text = "the Host header is no address that a host could use\n";
        return (StatusCode::BAD_REQUEST, text).into_response();
    }
    let sums = match read_sums(&files).await {
        Ok(sums) => sums,
        Err(why) => return (StatusCode::NOT_FOUND, why).into_response(),
    };
    let script = render(host, &archives(&sums));
    ([(CONTENT_TYPE, "text/x-shellscript; charset=utf-8")], script).into_response()
}

async fn read_sums(files: &Path) -> Result<String, String> {
    if files.as_os_str().is_empty() {
        return Err("hbs has no agents to install: set hbs.upgrade.files\n".to_owned());
    }
    let path = files.join(SUMS);
    tokio::fs::read_to_string(&path)
        .await
        .map_err(|error| format!("{SUMS} in hbs.upgrade.files cannot be read: {error}\n"))
}

// The name becomes part of a script that root runs.
fn is_host(host: &str) -> bool {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, Some(port)),
        _ => (host, None),
    };
    let is_port = |port: &str| port.parse::<u16>().is_ok_and(|number| number > 0);
    let inner = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    let is_name = match inner {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            let is_char = |c: u8| c.is_ascii_alphanumeric() || c == b'.' || c == b'-';
            !name.is_empty() && !name.starts_with(['-', '.']) && name.bytes().all(is_char)
        }
    };
    host.len() <= HOST_BYTES_MAX && is_name && port.is_none_or(is_port)
}

/// The archive of an architecture by its file's name; nothing for another file.
pub(crate) fn archive_arch(name: &str) -> Option<&str> {
    let arch = name.strip_prefix("saker-agent_")?.strip_suffix(".tar.gz")?;
    let is_char = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'_';
    (!arch.is_empty() && arch.bytes().all(is_char)).then_some(arch)
}

// `<architecture> <SHA-256>` of every archive.
fn archives(sums: &str) -> Vec<String> {
    let line = |line: &str| {
        let (digest, name) = line.split_once(char::is_whitespace)?;
        let arch = archive_arch(name.trim_start().trim_start_matches('*'))?;
        let is_digest = digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_digest.then(|| format!("{arch} {}", digest.to_ascii_lowercase()))
    };
    sums.lines().filter_map(line).collect()
}

fn render(host: &str, archives: &[String]) -> String {
    SCRIPT.replace("@HBS@", &format!("http://{host}")).replace("@DIGESTS@", &archives.join("\n"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn only_a_name_or_an_address_gets_into_the_script() {
        for host in ["hbs", "hbs.example:6031", "10.0.0.5:6031", "[::1]:6031", "[fe80::1]"] {
            assert!(is_host(host), "{host}");
        }
        let long = "a".repeat(300);
        for host in [
            "",
            ":6031",
            "a b",
            "a'b",
            "a;rm -rf /",
            "$(id)",
            "a/b",
            "a:0",
            "a:70000",
            "a:6031:1",
            "[::1",
            "[x]:1",
            "-a",
            "user@a",
            long.as_str(),
        ] {
            assert!(!is_host(host), "{host}");
        }
    }

    #[test]
    fn digests_of_archives_are_taken_from_the_list() {
        let digest = "A".repeat(64);
        let sums = format!(
            "{digest}  saker-agent_x86_64.tar.gz\n{digest} *saker-agent_aarch64.tar.gz\n\
             {digest}  bin_7.1\nxyz  saker-agent_arm.tar.gz\n{digest}  saker-agent_$(id).tar.gz\n"
        );
        let lower = "a".repeat(64);
        assert_eq!(archives(&sums), [format!("x86_64 {lower}"), format!("aarch64 {lower}")]);
    }

    #[test]
    fn nothing_of_the_template_is_left() {
        let script = render("hbs:6031", &["x86_64 ab".to_owned()]);
        assert!(script.contains("origin='http://hbs:6031'") && script.contains("\nx86_64 ab\n"));
        assert!(!script.contains("@HBS@") && !script.contains("@DIGESTS@"));
    }

    proptest! {
        #[test]
        fn no_host_leaves_its_quotes(host in any::<String>()) {
            if is_host(&host) {
                prop_assert!(!host.contains(['\'', '"', '$', '`', '\\', ' ', '\n', ';', '/']));
            }
        }
    }
}
