//! `receivers` and `global` of the file: eighteen kinds of integrations, checked by a table of their keys.

use serde::Deserialize;
use serde_json::{Map, Value};
use serde_saphyr::Spanned;

use super::{Reader, ReceiverSettings, line_of};

/// A kind of integration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Discord,
    Email,
    Incidentio,
    Jira,
    Mattermost,
    MsTeams,
    MsTeamsV2,
    OpsGenie,
    PagerDuty,
    Pushover,
    RocketChat,
    Slack,
    Sns,
    Telegram,
    VictorOps,
    Webex,
    Webhook,
    Wechat,
}

/// What is known of a kind.
struct Form {
    kind: Kind,
    /// Its list in a receiver.
    key: &'static str,
    send_resolved: bool,
    /// Of each group at least one must be there, after the globals were filled in.
    required: &'static [&'static str],
    /// All keys besides `send_resolved`; `|` separates those that must be there, each a choice.
    keys: &'static str,
    /// Own key and key in `global`.
    globals: &'static [(&'static str, &'static str)],
}

const FORMS: [Form; 18] = [
    Form {
        kind: Kind::Discord,
        key: "discord_configs",
        send_resolved: true,
        required: &["webhook_url webhook_url_file"],
        keys: "http_config webhook_url webhook_url_file content title message username avatar_url",
        globals: &[("http_config", "http_config")],
    },
    Form {
        kind: Kind::Email,
        key: "email_configs",
        send_resolved: false,
        required: &["to", "from", "smarthost"],
        keys: "to from hello smarthost auth_username auth_password auth_password_file auth_secret auth_secret_file \
               auth_identity headers html text require_tls tls_config force_implicit_tls threading",
        globals: &[
            ("from", "smtp_from"),
            ("hello", "smtp_hello"),
            ("smarthost", "smtp_smarthost"),
            ("auth_username", "smtp_auth_username"),
            ("auth_password", "smtp_auth_password"),
            ("auth_password_file", "smtp_auth_password_file"),
            ("auth_secret", "smtp_auth_secret"),
            ("auth_secret_file", "smtp_auth_secret_file"),
            ("auth_identity", "smtp_auth_identity"),
            ("require_tls", "smtp_require_tls"),
            ("tls_config", "smtp_tls_config"),
            ("force_implicit_tls", "smtp_force_implicit_tls"),
        ],
    },
    Form {
        kind: Kind::Incidentio,
        key: "incidentio_configs",
        send_resolved: true,
        required: &["url url_file"],
        keys: "http_config url url_file alert_source_token alert_source_token_file max_alerts timeout metadata",
        globals: &[("http_config", "http_config")],
    },
    Form {
        kind: Kind::Jira,
        key: "jira_configs",
        send_resolved: true,
        required: &["project", "issue_type", "api_url"],
        keys: "http_config api_url api_type project summary description labels priority issue_type reopen_transition \
               resolve_transition wont_fix_resolution reopen_duration fields custom_fields",
        globals: &[("http_config", "http_config"), ("api_url", "jira_api_url")],
    },
    Form {
        kind: Kind::Mattermost,
        key: "mattermost_configs",
        send_resolved: true,
        required: &["webhook_url webhook_url_file"],
        keys: "http_config webhook_url webhook_url_file channel username text icon_url icon_emoji attachments props \
               priority fallback color pretext author_name author_link author_icon title title_link fields thumb_url \
               footer footer_icon image_url type",
        globals: &[
            ("http_config", "http_config"),
            ("webhook_url", "mattermost_webhook_url"),
            ("webhook_url_file", "mattermost_webhook_url_file"),
        ],
    },
    Form {
        kind: Kind::MsTeams,
        key: "msteams_configs",
        send_resolved: true,
        required: &["webhook_url webhook_url_file"],
        keys: "http_config webhook_url webhook_url_file title summary text",
        globals: &[("http_config", "http_config")],
    },
    Form {
        kind: Kind::MsTeamsV2,
        key: "msteamsv2_configs",
        send_resolved: true,
        required: &["webhook_url webhook_url_file"],
        keys: "http_config webhook_url webhook_url_file title text",
        globals: &[("http_config", "http_config")],
    },
    Form {
        kind: Kind::OpsGenie,
        key: "opsgenie_configs",
        send_resolved: true,
        required: &["api_key api_key_file"],
        keys: "http_config api_key api_key_file api_url message description source details entity responders actions \
               tags note priority update_alerts",
        globals: &[
            ("http_config", "http_config"),
            ("api_key", "opsgenie_api_key"),
            ("api_key_file", "opsgenie_api_key_file"),
            ("api_url", "opsgenie_api_url"),
        ],
    },
    Form {
        kind: Kind::PagerDuty,
        key: "pagerduty_configs",
        send_resolved: true,
        required: &["routing_key routing_key_file service_key service_key_file"],
        keys: "http_config service_key service_key_file routing_key routing_key_file url client client_url description \
               details images links source severity class component group timeout",
        globals: &[("http_config", "http_config"), ("url", "pagerduty_url")],
    },
    Form {
        kind: Kind::Pushover,
        key: "pushover_configs",
        send_resolved: true,
        required: &["user_key user_key_file", "token token_file"],
        keys: "http_config user_key user_key_file token token_file title message url url_title device sound priority \
               retry expire ttl html monospace",
        globals: &[("http_config", "http_config")],
    },
    Form {
        kind: Kind::RocketChat,
        key: "rocketchat_configs",
        send_resolved: false,
        required: &["token token_file", "token_id token_id_file"],
        keys: "http_config api_url channel token token_file token_id token_id_file color emoji icon_url text title \
               title_link fields image_url thumb_url link_names short_fields actions",
        globals: &[
            ("http_config", "http_config"),
            ("api_url", "rocketchat_api_url"),
            ("token", "rocketchat_token"),
            ("token_file", "rocketchat_token_file"),
            ("token_id", "rocketchat_token_id"),
            ("token_id_file", "rocketchat_token_id_file"),
        ],
    },
    Form {
        kind: Kind::Slack,
        key: "slack_configs",
        send_resolved: false,
        required: &["api_url api_url_file app_token app_token_file"],
        keys: "http_config api_url api_url_file app_token app_token_file app_url channel username color title \
               title_link pretext text fields short_fields footer fallback callback_id icon_emoji icon_url image_url \
               thumb_url link_names mrkdwn_in actions update_message message_text timeout",
        globals: &[
            ("http_config", "http_config"),
            ("api_url", "slack_api_url"),
            ("api_url_file", "slack_api_url_file"),
            ("app_token", "slack_app_token"),
            ("app_token_file", "slack_app_token_file"),
            ("app_url", "slack_app_url"),
        ],
    },
    Form {
        kind: Kind::Sns,
        key: "sns_configs",
        send_resolved: true,
        required: &["topic_arn phone_number target_arn"],
        keys: "http_config api_url sigv4 topic_arn phone_number target_arn subject message attributes",
        globals: &[("http_config", "http_config")],
    },
    Form {
        kind: Kind::Telegram,
        key: "telegram_configs",
        send_resolved: true,
        required: &["bot_token bot_token_file", "chat_id chat_id_file"],
        keys: "http_config api_url bot_token bot_token_file chat_id chat_id_file message_thread_id message \
               disable_notifications parse_mode",
        globals: &[
            ("http_config", "http_config"),
            ("api_url", "telegram_api_url"),
            ("bot_token", "telegram_bot_token"),
            ("bot_token_file", "telegram_bot_token_file"),
        ],
    },
    Form {
        kind: Kind::VictorOps,
        key: "victorops_configs",
        send_resolved: true,
        required: &["routing_key", "api_key api_key_file"],
        keys: "http_config api_key api_key_file api_url routing_key message_type state_message entity_display_name \
               monitoring_tool custom_fields",
        globals: &[
            ("http_config", "http_config"),
            ("api_key", "victorops_api_key"),
            ("api_key_file", "victorops_api_key_file"),
            ("api_url", "victorops_api_url"),
        ],
    },
    Form {
        kind: Kind::Webex,
        key: "webex_configs",
        send_resolved: true,
        required: &["room_id"],
        keys: "http_config api_url message room_id",
        globals: &[("http_config", "http_config"), ("api_url", "webex_api_url")],
    },
    Form {
        kind: Kind::Webhook,
        key: "webhook_configs",
        send_resolved: true,
        required: &["url url_file"],
        keys: "http_config url url_file max_alerts timeout payload",
        globals: &[("http_config", "http_config")],
    },
    Form {
        kind: Kind::Wechat,
        key: "wechat_configs",
        send_resolved: false,
        required: &["api_secret api_secret_file", "corp_id"],
        keys: "http_config api_secret api_secret_file corp_id message api_url to_user to_party to_tag agent_id \
               message_type",
        globals: &[
            ("http_config", "http_config"),
            ("api_secret", "wechat_api_secret"),
            ("api_secret_file", "wechat_api_secret_file"),
            ("corp_id", "wechat_api_corp_id"),
            ("api_url", "wechat_api_url"),
        ],
    },
];

impl Kind {
    /// Its list in a receiver, as `webhook_configs`.
    pub(crate) fn key(self) -> &'static str {
        FORMS.iter().find(|form| form.kind == self).map_or("", |form| form.key)
    }
}

/// One integration of a receiver.
#[derive(Clone, PartialEq)]
pub(crate) struct Integration {
    /// What it talks to.
    pub(crate) kind: Kind,
    /// Whether ends are told.
    pub(crate) send_resolved: bool,
    /// Its keys as the file has them, those of `global` filled in. May hold secrets.
    pub(crate) settings: Map<String, Value>,
}

impl std::fmt::Debug for Integration {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let keys: Vec<&String> = self.settings.keys().collect();
        write!(f, "Integration({:?}, {keys:?})", self.kind)
    }
}

type Settings = Map<String, Value>;
type List = Option<Vec<Spanned<Settings>>>;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReceiverSpec {
    #[serde(default)]
    name: String,
    #[serde(default)]
    discord_configs: List,
    #[serde(default)]
    email_configs: List,
    #[serde(default)]
    incidentio_configs: List,
    #[serde(default)]
    jira_configs: List,
    #[serde(default)]
    mattermost_configs: List,
    #[serde(default)]
    msteams_configs: List,
    #[serde(default)]
    msteamsv2_configs: List,
    #[serde(default)]
    opsgenie_configs: List,
    #[serde(default)]
    pagerduty_configs: List,
    #[serde(default)]
    pushover_configs: List,
    #[serde(default)]
    rocketchat_configs: List,
    #[serde(default)]
    slack_configs: List,
    #[serde(default)]
    sns_configs: List,
    #[serde(default)]
    telegram_configs: List,
    #[serde(default)]
    victorops_configs: List,
    #[serde(default)]
    webex_configs: List,
    #[serde(default)]
    webhook_configs: List,
    #[serde(default)]
    wechat_configs: List,
}

impl ReceiverSpec {
    /// The lists in the order of [`FORMS`].
    fn lists(self) -> [List; FORMS.len()] {
        [
            self.discord_configs,
            self.email_configs,
            self.incidentio_configs,
            self.jira_configs,
            self.mattermost_configs,
            self.msteams_configs,
            self.msteamsv2_configs,
            self.opsgenie_configs,
            self.pagerduty_configs,
            self.pushover_configs,
            self.rocketchat_configs,
            self.slack_configs,
            self.sns_configs,
            self.telegram_configs,
            self.victorops_configs,
            self.webex_configs,
            self.webhook_configs,
            self.wechat_configs,
        ]
    }
}

impl Reader {
    pub(super) fn check_global(&mut self, line: u64, global: &Settings) {
        let is_known = |key: &str| {
            key == "resolve_timeout"
                || FORMS.iter().flat_map(|form| form.globals).any(|(_, known)| *known == key)
        };
        for key in global.keys().filter(|key| !is_known(key)) {
            self.fault(line, format!("global: unknown field `{key}`"));
        }
    }

    pub(super) fn receivers(
        &mut self,
        specs: Vec<Spanned<ReceiverSpec>>,
        global: &Settings,
    ) -> Vec<ReceiverSettings> {
        let mut receivers: Vec<ReceiverSettings> = Vec::new();
        for spec in specs {
            let (line, spec) = (line_of(&spec), spec.value);
            let name = spec.name.clone();
            if name.is_empty() {
                self.fault(line, "a receiver has no name; add `name:`");
            } else if receivers.iter().any(|known| known.name == name) {
                self.fault(line, format!("receiver {name:?} is there twice"));
            }
            let mut integrations = Vec::new();
            for (form, list) in FORMS.iter().zip(spec.lists()) {
                for one in list.unwrap_or_default() {
                    integrations.extend(self.integration(&name, form, one, global));
                }
            }
            receivers.push(ReceiverSettings { name, integrations });
        }
        receivers
    }

    fn integration(
        &mut self,
        name: &str,
        form: &Form,
        one: Spanned<Settings>,
        global: &Settings,
    ) -> Option<Integration> {
        let where_ = format!("receiver {name:?}, {}", form.key);
        let (line, mut settings) = (line_of(&one), one.value);
        let send_resolved = match settings.remove("send_resolved") {
            None => form.send_resolved,
            Some(Value::Bool(wanted)) => wanted,
            Some(_) => {
                self.fault(line, format!("{where_}: send_resolved is true or false"));
                return None;
            }
        };
        for key in settings.keys() {
            if !form.keys.split_whitespace().any(|known| known == key) {
                self.fault(line, format!("{where_}: unknown field `{key}`"));
            }
        }
        fill(form, &mut settings, global);
        for choice in form.required {
            if !choice.split(' ').any(|key| settings.contains_key(key)) {
                let keys = choice.replace(' ', " or ");
                self.fault(line, format!("{where_} needs {keys}"));
            }
        }
        Some(Integration { kind: form.kind, send_resolved, settings })
    }
}

/// Writes what `global` says into the integrations of a receiver, for a place where there is no `global`.
pub(crate) fn with_globals(receiver: &mut Settings, global: &Settings) {
    for form in &FORMS {
        let list = receiver.get_mut(form.key).and_then(Value::as_array_mut);
        for settings in list.into_iter().flatten().filter_map(Value::as_object_mut) {
            fill(form, settings, global);
        }
    }
}

fn fill(form: &Form, settings: &mut Settings, global: &Settings) {
    for (own, key) in form.globals {
        if !has_choice(form, own, settings)
            && let Some(value) = global.get(*key)
        {
            settings.insert((*own).to_owned(), value.clone());
        }
    }
}

/// Whether the integration itself says this, or its alternative: with an `api_url_file` of its own the global
/// `api_url` does not count.
fn has_choice(form: &Form, own: &str, settings: &Map<String, Value>) -> bool {
    let choice = form.required.iter().find(|choice| choice.split(' ').any(|key| key == own));
    match choice {
        Some(choice) => choice.split(' ').any(|key| settings.contains_key(key)),
        None => settings.contains_key(own),
    }
}
