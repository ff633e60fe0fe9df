//! The body of `POST /agent/upgrade`: Open-Falcon's five fields, and ours.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;
use wire::heartbeat::UpgradeKind;

use super::{Policy, Share, Targets, Task, Wave, version};

const LIST_MAX: usize = 10_000;
const TEXT_BYTES_MAX: usize = 1024;
const WAVES_MAX: usize = 32;
const SOAK_SECONDS_MAX: u32 = 7 * 86_400;
/// The pause after the first two waves, and after the others.
const SOAK_SECONDS: [u32; 2] = [600, 120];
const WAVES_PERCENT: [f64; 3] = [1.0, 10.0, 100.0];
const FAIL_PERCENT_MAX: f64 = 1.0;

/// A rollout that is asked for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Request {
    pub(crate) task: Task,
    pub(crate) targets: Targets,
    pub(crate) policy: Policy,
    /// Cut another rollout off, or go on with this one where it was halted.
    pub(crate) force: bool,
    pub(crate) reason: String,
}

/// Why a request is refused. The texts of the first ones are Open-Falcon's.
#[derive(Debug, Error, PartialEq, Eq)]
pub(crate) enum RequestError {
    #[error("解析出错")]
    Json,
    #[error("参数错误")]
    Parameters,
    #[error("只升级bin:缺失BinFileMd5参数")]
    BinaryDigest,
    #[error("只升级cfg:缺失CfgFileMd5参数")]
    ConfigDigest,
    #[error("升级bin和cfg:缺失BinFileMd5或CfgFileMd5参数")]
    BothDigests,
    #[error("参数错误: {field}: {fault}")]
    Field { field: &'static str, fault: String },
    #[error("参数错误: {fault}")]
    Unknown { fault: String },
}

/// The fields of the body. A misspelt one is refused: without `hosts` all hosts are meant.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    #[serde(rename = "type", default)]
    kind: UpgradeKind,
    wgeturl: String,
    version: String,
    #[serde(default)]
    binfile_md5: String,
    #[serde(default)]
    cfgfile_md5: String,
    #[serde(default, alias = "binfile_sha256")]
    sha256: String,
    #[serde(default, alias = "manifest_sig")]
    signature: String,
    #[serde(default, alias = "cfgfile_sha256")]
    cfg_sha256: String,
    #[serde(default)]
    cfg_signature: String,
    #[serde(default)]
    arch: String,
    #[serde(default)]
    groups: BTreeSet<String>,
    #[serde(default)]
    hosts: BTreeSet<String>,
    #[serde(default)]
    dcs: BTreeSet<String>,
    #[serde(default)]
    min_from: String,
    canary: Option<Value>,
    waves: Option<Vec<f64>>,
    soak: Option<u32>,
    max_fail: Option<Value>,
    #[serde(alias = "max_inflight")]
    max_in_flight: Option<u32>,
    #[serde(default, alias = "rate_total")]
    bandwidth: u64,
    #[serde(default)]
    allow_downgrade: bool,
    #[serde(default)]
    force: bool,
    #[serde(default)]
    reason: String,
}

impl Request {
    /// Reads and checks a body. `in_flight_max` is the limit of hbs.
    pub(crate) fn decode(body: &[u8], in_flight_max: u32) -> Result<Self, RequestError> {
        let object: serde_json::Map<String, Value> =
            serde_json::from_slice(body).map_err(|_| RequestError::Json)?;
        check_seed(&object)?;
        let body: Body = serde_json::from_value(Value::Object(object))
            .map_err(|error| RequestError::Unknown { fault: error.to_string() })?;
        body.check()?;
        let policy = body.policy(in_flight_max)?;
        let task = Task {
            kind: body.kind,
            wgeturl: body.wgeturl.trim_end_matches('/').to_owned(),
            version: body.version,
            binfile_md5: body.binfile_md5,
            cfgfile_md5: body.cfgfile_md5,
            sha256: body.sha256,
            signature: body.signature,
            cfg_sha256: body.cfg_sha256,
            cfg_signature: body.cfg_signature,
            arch: body.arch,
        };
        let Body { hosts, groups, dcs, min_from, .. } = body;
        let targets = Targets { hosts, groups, dcs, min_from };
        Ok(Self { task, targets, policy, force: body.force, reason: body.reason })
    }
}

/// What Open-Falcon checks, in its order and with its texts.
fn check_seed(object: &serde_json::Map<String, Value>) -> Result<(), RequestError> {
    let text = |field: &str| match object.get(field) {
        None | Some(Value::Null) => Ok(""),
        Some(Value::String(text)) => Ok(text.as_str()),
        Some(_) => Err(RequestError::Json),
    };
    let kind = match object.get("type") {
        None => 0,
        Some(kind) => kind.as_i64().ok_or(RequestError::Json)?,
    };
    let (binary, config) = (text("binfile_md5")?, text("cfgfile_md5")?);
    if text("wgeturl")?.is_empty() || text("version")?.is_empty() {
        return Err(RequestError::Parameters);
    }
    match kind {
        0 if binary.is_empty() => Err(RequestError::BinaryDigest),
        1 if config.is_empty() => Err(RequestError::ConfigDigest),
        2 if binary.is_empty() || config.is_empty() => Err(RequestError::BothDigests),
        0..=2 => Ok(()),
        _ => Err(RequestError::Parameters),
    }
}

impl Body {
    fn check(&self) -> Result<(), RequestError> {
        if !self.wgeturl.starts_with("http://") && !self.wgeturl.starts_with("https://") {
            return fault("wgeturl", "must start with http:// or https://");
        }
        if !version::is_valid(&self.version) {
            return fault("version", "must be letters, digits and ._+- without .., at most 64");
        }
        if !self.min_from.is_empty() && !version::is_valid(&self.min_from) {
            return fault("min_from", "must be a version");
        }
        for (field, text, digits) in [
            ("binfile_md5", &self.binfile_md5, 32),
            ("cfgfile_md5", &self.cfgfile_md5, 32),
            ("sha256", &self.sha256, 64),
            ("cfg_sha256", &self.cfg_sha256, 64),
        ] {
            let is_hex = text.len() == digits && text.bytes().all(|b| b.is_ascii_hexdigit());
            if !text.is_empty() && !is_hex {
                return fault(field, format!("must be {digits} hexadecimal digits"));
            }
        }
        let texts = [
            ("wgeturl", &self.wgeturl),
            ("signature", &self.signature),
            ("cfg_signature", &self.cfg_signature),
            ("arch", &self.arch),
            ("reason", &self.reason),
        ];
        for (field, text) in texts {
            if text.len() > TEXT_BYTES_MAX || text.chars().any(char::is_control) {
                return fault(field, "is too long or has control characters");
            }
        }
        for (field, list) in [("hosts", &self.hosts), ("groups", &self.groups), ("dcs", &self.dcs)]
        {
            if list.len() > LIST_MAX || list.iter().any(|name| name.is_empty()) {
                return fault(field, format!("must be at most {LIST_MAX} names, none empty"));
            }
        }
        Ok(())
    }

    fn policy(&self, in_flight_max: u32) -> Result<Policy, RequestError> {
        let canary =
            self.canary.as_ref().map_or(Ok(Share::Hosts(1)), |value| share("canary", value))?;
        let percents = self.waves.clone().unwrap_or_else(|| WAVES_PERCENT.to_vec());
        let is_rising = percents.windows(2).all(|pair| pair[0] < pair[1]);
        let is_in_range = percents.iter().all(|&percent| percent > 0.0 && percent <= 100.0);
        if !is_rising || !is_in_range || percents.is_empty() || percents.len() > WAVES_MAX {
            return fault("waves", "must be rising percentages from above 0 to 100");
        }
        let soak = |wave: usize| self.soak.unwrap_or(SOAK_SECONDS[usize::from(wave > 1)]);
        if soak(0) > SOAK_SECONDS_MAX {
            return fault("soak", format!("must be at most {SOAK_SECONDS_MAX} seconds"));
        }
        let has_canary = !matches!(canary, Share::Hosts(0));
        let reaches = has_canary.then_some(canary).into_iter();
        let reaches = reaches.chain(percents.into_iter().map(Share::Percent));
        let wave =
            |(n, reach)| Wave { reach, is_canary: has_canary && n == 0, soak_seconds: soak(n) };
        let fail_max = self.max_fail.as_ref();
        let fail_max = fail_max
            .map_or(Ok(Share::Percent(FAIL_PERCENT_MAX)), |value| share("max_fail", value))?;
        let in_flight_max = match self.max_in_flight {
            Some(0) => return fault("max_in_flight", "must be at least 1"),
            Some(max) => max.min(in_flight_max),
            None => in_flight_max,
        };
        Ok(Policy {
            waves: reaches.enumerate().map(wave).collect(),
            fail_max,
            in_flight_max,
            bandwidth: self.bandwidth,
            allow_downgrade: self.allow_downgrade,
        })
    }
}

/// A number of hosts, or a text such as `"1.5%"`.
fn share(field: &'static str, value: &Value) -> Result<Share, RequestError> {
    if let Some(hosts) = value.as_u64() {
        return Ok(Share::Hosts(hosts));
    }
    let percent = value.as_str().and_then(|text| text.trim().strip_suffix('%'));
    match percent.and_then(|percent| percent.trim().parse::<f64>().ok()) {
        Some(0.0) => Ok(Share::Hosts(0)),
        Some(percent) if percent > 0.0 && percent <= 100.0 => Ok(Share::Percent(percent)),
        _ => fault(field, "must be a number of hosts or a text such as \"1.5%\""),
    }
}

fn fault<T>(field: &'static str, fault: impl Into<String>) -> Result<T, RequestError> {
    Err(RequestError::Field { field, fault: fault.into() })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MD5: &str = "d41d8cd98f00b204e9800998ecf8427e";

    fn decode(more: &str) -> Result<Request, RequestError> {
        let body =
            format!(r#"{{"wgeturl":"http://a/f/","version":"7.1","binfile_md5":"{MD5}"{more}}}"#);
        Request::decode(body.as_bytes(), 2000)
    }

    fn reaches(request: &Request) -> Vec<(Share, u32)> {
        request.policy.waves.iter().map(|wave| (wave.reach, wave.soak_seconds)).collect()
    }

    #[test]
    fn the_seeds_body_goes_by_one_host_one_percent_ten_percent_and_all() {
        let request = decode("").expect("it is valid");
        let percent = Share::Percent;
        let expected = [
            (Share::Hosts(1), 600),
            (percent(1.0), 600),
            (percent(10.0), 120),
            (percent(100.0), 120),
        ];
        assert_eq!(reaches(&request), expected);
        assert_eq!(request.task.wgeturl, "http://a/f", "no double slash in the address");
        assert_eq!((request.policy.in_flight_max, request.force), (2000, false));
        assert_eq!(request.policy.fail_max, Share::Percent(1.0));
    }

    #[test]
    fn the_seeds_own_behaviour_is_one_wave_of_all() {
        let request = decode(r#","canary":0,"waves":[100]"#).expect("it is valid");
        assert_eq!(reaches(&request), [(Share::Percent(100.0), 600)]);
        assert!(!request.policy.waves[0].is_canary);
    }

    #[test]
    fn both_spellings_of_our_fields_are_one() {
        let ours = r#","sha256":"S","signature":"s","max_in_flight":5,"bandwidth":9"#;
        let other = r#","binfile_sha256":"S","manifest_sig":"s","max_inflight":5,"rate_total":9"#;
        let sha = "a".repeat(64);
        let (one, two) = (decode(&ours.replace('S', &sha)), decode(&other.replace('S', &sha)));
        assert_eq!(one, two);
        let policy = one.expect("it is valid").policy;
        assert_eq!((policy.in_flight_max, policy.bandwidth), (5, 9));
        let request = decode(r#","canary":"2%","max_fail":"0.5 %","soak":60,"max_in_flight":9999"#);
        let request = request.expect("it is valid");
        assert_eq!(reaches(&request)[0], (Share::Percent(2.0), 60));
        assert_eq!(request.policy.fail_max, Share::Percent(0.5));
        assert_eq!(request.policy.in_flight_max, 2000, "the limit of hbs holds");
    }

    #[test]
    fn faults_of_the_seeds_fields_have_its_texts() {
        let check = |body: &str, text: &str| {
            let error = Request::decode(body.as_bytes(), 1).expect_err(body);
            assert_eq!(error.to_string(), text, "{body}");
        };
        check("", "解析出错");
        check("[]", "解析出错");
        check(r#"{"wgeturl":5,"version":"1"}"#, "解析出错");
        check("{}", "参数错误");
        check(r#"{"wgeturl":"http://a"}"#, "参数错误");
        check(r#"{"wgeturl":"http://a","version":"1","type":3}"#, "参数错误");
        check(r#"{"wgeturl":"http://a","version":"1"}"#, "只升级bin:缺失BinFileMd5参数");
        check(r#"{"wgeturl":"http://a","version":"1","type":1}"#, "只升级cfg:缺失CfgFileMd5参数");
        let both = r#"{"wgeturl":"http://a","version":"1","type":2,"binfile_md5":"1"}"#;
        check(both, "升级bin和cfg:缺失BinFileMd5或CfgFileMd5参数");
    }

    #[test]
    fn faults_of_our_fields_are_named() {
        for (more, named) in [
            (r#","host":["a"]"#, "unknown field `host`"),
            (r#","waves":[50,10]"#, "waves: must be rising"),
            (r#","waves":[]"#, "waves:"),
            (r#","waves":[0,100]"#, "waves:"),
            (r#","canary":-1"#, "canary: must be a number of hosts"),
            (r#","max_fail":"101%""#, "max_fail:"),
            (r#","max_in_flight":0"#, "max_in_flight:"),
            (r#","sha256":"abc""#, "sha256: must be 64"),
            (r#","soak":9999999"#, "soak:"),
            (r#","hosts":[""]"#, "hosts:"),
            (r#","min_from":"../..""#, "min_from:"),
        ] {
            let error = decode(more).expect_err(more).to_string();
            assert!(error.starts_with("参数错误: ") && error.contains(named), "{more}: {error}");
        }
        let at = |url: &str, version: &str| {
            let body =
                format!(r#"{{"wgeturl":"{url}","version":"{version}","binfile_md5":"{MD5}"}}"#);
            Request::decode(body.as_bytes(), 1).expect_err("it is bad").to_string()
        };
        assert!(at("ftp://a", "1").contains("wgeturl"));
        assert!(at("http://a", "../1").contains("version"));
    }

    proptest! {
        #[test]
        fn no_body_makes_the_decoder_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Request::decode(&body, 1);
        }

        #[test]
        fn what_is_accepted_has_rising_waves(waves in prop::collection::vec(-10.0..200.0_f64, 0..5)) {
            if let Ok(request) = decode(&format!(r#","waves":{waves:?}"#)) {
                prop_assert!(!request.policy.waves.is_empty());
                prop_assert!(waves.is_sorted() && waves.iter().all(|w| (0.0..=100.0).contains(w)));
            }
        }
    }
}
