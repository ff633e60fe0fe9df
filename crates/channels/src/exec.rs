//! A program on alarm's own host. What it is and its arguments stand in the settings; the message reaches it as
//! JSON on its standard input and nowhere else, so nothing in an alert can become a command.

use serde::{Deserialize, Serialize};
use serde_json::json;
use std::path::PathBuf;

use crate::answer::{Answer, Fault, Reply, Whose};
use crate::channel::{Channel, How, Limits, Parcel, Run};
use crate::message::Message;

const LIMITS: Limits = Limits::none(usize::MAX);
/// The exit code for "later" in `sysexits.h`.
const TEMPORARY: u16 = 75;

/// A program.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exec {
    /// Absolute path. It is run as it is, without a shell.
    pub program: PathBuf,
    /// Its arguments.
    #[serde(default)]
    pub arguments: Vec<String>,
}

impl Channel for Exec {
    fn limits(&self) -> Limits {
        LIMITS
    }

    fn parcel(&self, message: &Message, to: &str, _: How<'_>) -> Result<Parcel, Fault> {
        let input = json!({
            "key": message.key, "thread": message.thread, "kind": message.kind, "to": to,
            "urgency": message.urgency, "language": message.language.tag(),
            "title": message.headline(), "text": message.plain(), "buttons": message.buttons,
            "message": message.group,
        });
        let input = format!("{input}\n").into_bytes();
        let (program, arguments) = (self.program.clone(), self.arguments.clone());
        Ok(Parcel::Run(Run { program, arguments, input }))
    }

    fn read(&self, reply: &Reply<'_>) -> Answer {
        let fault = Fault::new(reply.status.to_string(), &String::from_utf8_lossy(reply.body));
        match reply.status {
            0 => Answer::Sent { id: None },
            1 | TEMPORARY => Answer::Later { fault, wait: None },
            _ => Answer::Refused { fault, whose: Whose::Bot },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::tests::{how, read};
    use crate::message::tests::message;

    #[test]
    fn nothing_of_an_alert_reaches_program_or_arguments() {
        let arguments = vec!["--page".to_owned()];
        let exec = Exec { program: "/bin/page".into(), arguments: arguments.clone() };
        let hostile = Message { title: "$(reboot); --help".to_owned(), ..message() };
        let Ok(Parcel::Run(run)) = exec.parcel(&hostile, "`id`", how()) else { panic!("no run") };
        assert_eq!((run.program, run.arguments), (PathBuf::from("/bin/page"), arguments));
        let input: serde_json::Value = serde_json::from_slice(&run.input).unwrap();
        assert_eq!(input["to"], "`id`");
        assert_eq!(input["message"]["version"], "4");
    }

    #[test]
    fn the_exit_code_decides() {
        let exec = Exec { program: "/bin/page".into(), arguments: Vec::new() };
        assert_eq!(read(&exec, 0, ""), Answer::Sent { id: None });
        for code in [1, 75] {
            assert!(matches!(read(&exec, code, "busy"), Answer::Later { .. }), "{code}");
        }
        assert!(matches!(read(&exec, 2, ""), Answer::Refused { .. }));
    }
}
