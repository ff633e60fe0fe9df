//! The only place where messages leave the process: HTTP, SMTP, or a program. Never logs an address, a header or
//! a body: each may hold a secret.

use std::process::Stdio;
use std::time::Duration;

use channels::channel::{Mail as Letter, Run};
use channels::mail::{Mail, MailTls};
use channels::next::unreachable;
use channels::{Answer, Channel, Parcel, Reply, Request, Spec};
use lettre::address::Envelope;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::{Address, AsyncSmtpTransport, AsyncTransport, Tokio1Executor};
use reqwest::Client;
use reqwest::header::RETRY_AFTER;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

/// How much of an answer is read.
const BODY_BYTES_MAX: usize = 64 << 10;
const STDERR_BYTES_MAX: u64 = 4 << 10;
/// Feishu says in this header how long to wait.
const RATE_LIMIT_RESET: &str = "x-ogw-ratelimit-reset";

/// What came back.
#[derive(Debug)]
pub(super) struct Returned {
    status: u16,
    wait: Option<Duration>,
    body: Vec<u8>,
}

impl Returned {
    pub(super) fn reply(&self) -> Reply<'_> {
        Reply { status: self.status, wait: self.wait, body: &self.body }
    }
}

/// Sends a parcel and says what the platform made of it.
pub(super) async fn deliver(
    http: &Client,
    spec: &Spec,
    parcel: Parcel,
    timeout: Duration,
) -> Answer {
    let channel = spec.channel();
    match parcel {
        Parcel::Http(requests) => post_all(http, channel, requests, timeout).await,
        Parcel::Mail(letter) => match spec {
            Spec::Mail(relay) => mail(relay, letter, timeout).await,
            _ => unreachable(false, "this channel has no relay"),
        },
        Parcel::Run(run) => {
            let done = tokio::time::timeout(timeout, run_program(run)).await;
            match done {
                Ok(Ok(returned)) => channel.read(&returned.reply()),
                Ok(Err(error)) => unreachable(false, &error.to_string()),
                Err(_) => unreachable(true, "the program did not end in time"),
            }
        }
    }
}

async fn post_all(
    http: &Client,
    channel: &dyn Channel,
    requests: Vec<Request>,
    timeout: Duration,
) -> Answer {
    let mut last = unreachable(false, "there is nothing to send");
    for request in requests {
        last = match exchange(http, request, timeout).await {
            Ok(returned) => channel.read(&returned.reply()),
            Err(answer) => answer,
        };
        if !matches!(last, Answer::Sent { .. }) {
            break;
        }
    }
    last
}

/// Makes one HTTP request. The error is the answer of a platform that gave none.
pub(super) async fn exchange(
    http: &Client,
    request: Request,
    timeout: Duration,
) -> Result<Returned, Answer> {
    let mut builder = if request.is_get { http.get(&request.url) } else { http.post(&request.url) };
    for (name, value) in request.headers {
        builder = builder.header(name, value);
    }
    let sent = builder.timeout(timeout).body(request.body).send().await;
    let failed = |error: reqwest::Error| {
        let is_timeout = error.is_timeout();
        unreachable(is_timeout, &daemon::error_chain(&error.without_url()))
    };
    let mut response = sent.map_err(failed)?;
    let header = |name: &str| {
        let text = response.headers().get(name)?.to_str().ok()?;
        text.trim().parse().ok().map(Duration::from_secs)
    };
    let wait = header(RETRY_AFTER.as_str()).or_else(|| header(RATE_LIMIT_RESET));
    let status = response.status().as_u16();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        body.extend_from_slice(&chunk);
        if body.len() >= BODY_BYTES_MAX {
            body.truncate(BODY_BYTES_MAX);
            break;
        }
    }
    Ok(Returned { status, wait, body })
}

async fn mail(relay: &Mail, letter: Letter, timeout: Duration) -> Answer {
    let transport = match transport(relay, timeout).await {
        Ok(transport) => transport,
        Err(error) => return unreachable(false, &format!("{error:#}")),
    };
    let envelope = match envelope(&letter) {
        Ok(envelope) => envelope,
        Err(error) => return unreachable(false, &format!("{error:#}")),
    };
    match transport.send_raw(&envelope, &letter.text).await {
        Ok(_) => relay.read(&Reply { status: 250, wait: None, body: b"" }),
        Err(error) => match error.status() {
            Some(code) => {
                let (status, text) = (u16::from(code), error.to_string());
                relay.read(&Reply { status, wait: None, body: text.as_bytes() })
            }
            None => unreachable(error.is_timeout(), &daemon::error_chain(&error)),
        },
    }
}

async fn transport(
    relay: &Mail,
    timeout: Duration,
) -> anyhow::Result<AsyncSmtpTransport<Tokio1Executor>> {
    let (tls, usual_port) = match relay.tls {
        MailTls::None => (Tls::None, 25),
        MailTls::Starttls => (Tls::Required(parameters(relay).await?), 587),
        MailTls::Tls => (Tls::Wrapper(parameters(relay).await?), 465),
    };
    let port = if relay.port == 0 { usual_port } else { relay.port };
    let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&relay.host)
        .port(port)
        .tls(tls)
        .timeout(Some(timeout));
    if !relay.user.is_empty() {
        let password = relay.password.expose().to_owned();
        builder = builder.credentials(Credentials::new(relay.user.clone(), password));
    }
    Ok(builder.build())
}

async fn parameters(relay: &Mail) -> anyhow::Result<TlsParameters> {
    let mut builder = TlsParameters::builder(relay.host.clone());
    if !relay.authority_file.is_empty() {
        let pem = tokio::fs::read(&relay.authority_file).await?;
        builder = builder.add_root_certificate(Certificate::from_pem(&pem)?);
    }
    Ok(builder.build_rustls()?)
}

fn envelope(letter: &Letter) -> anyhow::Result<Envelope> {
    let to = letter.to.iter().map(|to| to.parse::<Address>()).collect::<Result<Vec<_>, _>>()?;
    Ok(Envelope::new(Some(letter.from.parse()?), to)?)
}

async fn run_program(run: Run) -> std::io::Result<Returned> {
    let mut child = Command::new(&run.program)
        .args(&run.arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let (stdin, stderr) = (child.stdin.take(), child.stderr.take());
    let feed = async {
        if let Some(mut stdin) = stdin {
            // A program that does not read what it is told may still do its work.
            let _ = stdin.write_all(&run.input).await;
        }
    };
    let listen = async {
        let mut text = Vec::new();
        if let Some(stderr) = stderr {
            let mut stderr = stderr.take(STDERR_BYTES_MAX);
            let _ = stderr.read_to_end(&mut text).await;
        }
        text
    };
    let ((), body, status) = tokio::join!(feed, listen, child.wait());
    // One that a signal ended has no code.
    let code = status?.code().and_then(|code| u16::try_from(code).ok()).unwrap_or(255);
    Ok(Returned { status: code, wait: None, body })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> (Spec, Parcel) {
        let arguments = vec!["-c".to_owned(), script.to_owned()];
        let program = "/bin/sh".into();
        let spec = Spec::Exec(channels::exec::Exec { program, arguments: arguments.clone() });
        let run = Run { program: "/bin/sh".into(), arguments, input: b"{\"a\":1}\n".to_vec() };
        (spec, Parcel::Run(run))
    }

    async fn run(script: &str) -> Answer {
        let (spec, parcel) = shell(script);
        let http = daemon::http_client().unwrap();
        deliver(&http, &spec, parcel, Duration::from_secs(20)).await
    }

    #[tokio::test]
    async fn a_program_reads_the_message_and_its_exit_code_counts() {
        let read = run(r#"read line; test "$line" = '{"a":1}'"#).await;
        assert_eq!(read, Answer::Sent { id: None });
        let busy = run("echo 'no line' >&2; exit 75").await;
        assert_eq!(busy.fault().map(|fault| fault.text.as_str()), Some("no line"));
        assert!(matches!(busy, Answer::Later { .. }));
        assert!(matches!(run("exit 2").await, Answer::Refused { .. }));
        assert!(matches!(run("kill -9 $$").await, Answer::Refused { .. }));
    }

    #[tokio::test]
    async fn a_program_that_does_not_end_is_ended() {
        let (spec, parcel) = shell("sleep 600");
        let http = daemon::http_client().unwrap();
        let answer = deliver(&http, &spec, parcel, Duration::from_millis(50)).await;
        assert_eq!(answer.fault().map(|fault| fault.code.as_str()), Some("timeout"));
    }

    /// A relay that answers to `RCPT TO` as told, for one mail; gives back what it was told.
    fn relay(rcpt: &'static str) -> (u16, std::thread::JoinHandle<String>) {
        use std::io::{BufRead, BufReader, Write};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let thread = std::thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let (mut told, mut is_text) = (String::new(), false);
            let mut answer = stream.try_clone().unwrap();
            answer.write_all(b"220 relay\r\n").unwrap();
            for line in BufReader::new(stream).lines() {
                let line = line.unwrap();
                told.push_str(&line);
                told.push('\n');
                let reply = match (is_text, line.split([' ', ':']).next().unwrap_or("")) {
                    (true, _) if line == "." => "250 taken",
                    (true, _) => continue,
                    (false, "RCPT") => rcpt,
                    (false, "DATA") => "354 go on",
                    (false, "QUIT") => "221 bye",
                    (false, _) => "250 fine",
                };
                is_text = reply.starts_with("354");
                answer.write_all(format!("{reply}\r\n").as_bytes()).unwrap();
                if reply.starts_with("221") {
                    break;
                }
            }
            told
        });
        (port, thread)
    }

    async fn mail_over(port: u16, tls: &str) -> Answer {
        let settings = format!(
            "kind = \"mail\"\nhost = \"127.0.0.1\"\nport = {port}\ntls = \"{tls}\"\n\
             from = \"saker@example.com\"\nto = [\"ops@example.com\"]"
        );
        let spec: Spec = toml::from_str(&settings).unwrap();
        let text = b"Subject: x\r\n\r\nhello\r\n".to_vec();
        let (from, to) = ("saker@example.com".to_owned(), vec!["ops@example.com".to_owned()]);
        let http = daemon::http_client().unwrap();
        let parcel = Parcel::Mail(Letter { from, to, text });
        deliver(&http, &spec, parcel, Duration::from_secs(20)).await
    }

    #[tokio::test]
    async fn a_relay_takes_a_mail_and_its_codes_count() {
        let (port, relay_thread) = relay("250 fine");
        assert_eq!(mail_over(port, "none").await, Answer::Sent { id: None });
        let told = relay_thread.join().unwrap();
        assert!(told.contains("RCPT TO:<ops@example.com>") && told.contains("hello"), "{told}");
        let (port, _relay) = relay("550 no such user");
        let refused = mail_over(port, "none").await;
        let whose = channels::Whose::Recipient;
        assert!(
            matches!(&refused, Answer::Refused { whose: of, .. } if *of == whose),
            "{refused:?}"
        );
        let (port, _relay) = relay("451 later");
        assert!(matches!(mail_over(port, "none").await, Answer::Later { .. }));
    }

    #[tokio::test]
    async fn a_relay_that_must_speak_tls_and_cannot_gets_no_mail() {
        let (port, relay_thread) = relay("250 fine");
        let answer = mail_over(port, "starttls").await;
        assert!(matches!(answer, Answer::Later { .. } | Answer::Refused { .. }), "{answer:?}");
        let told = relay_thread.join().unwrap();
        assert!(!told.contains("RCPT") && !told.contains("hello"), "{told}");
    }

    #[tokio::test]
    async fn an_address_that_nobody_serves_is_not_shown() {
        let port = testkit::free_port();
        let url = format!("http://127.0.0.1:{port}/hunter2");
        let spec: Spec =
            toml::from_str(&format!("kind = \"wecom_webhook\"\nurl = \"{url}\"")).unwrap();
        let http = daemon::http_client().unwrap();
        let parcel = Parcel::Http(vec![Request::get(url)]);
        let answer = deliver(&http, &spec, parcel, Duration::from_secs(5)).await;
        let fault = answer.fault().unwrap();
        assert_eq!(fault.code, "unreachable");
        assert!(!format!("{answer:?}").contains("hunter2"), "{answer:?}");
    }
}
