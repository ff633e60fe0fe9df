//! The words of messages in both languages.

use serde::{Deserialize, Serialize};

/// A language.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Language {
    /// English.
    #[default]
    #[serde(rename = "en")]
    English,
    /// Simplified Chinese.
    #[serde(rename = "zh-CN")]
    Chinese,
}

/// A word or a sentence of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Word {
    Recovered,
    Since,
    Until,
    Value,
    Summary,
    Description,
    Runbook,
    Labels,
    Endpoint,
    Recipient,
    Counter,
    Unmute,
    Ack,
    Snooze,
    Open,
    Digest,
    Test,
    TestText,
    Reminder,
    KeepIt,
    Note,
    Severity,
    QuietHours,
}

impl Language {
    pub(crate) const fn word(self, word: Word) -> &'static str {
        let (english, chinese) = both(word);
        match self {
            Self::English => english,
            Self::Chinese => chinese,
        }
    }

    /// The tag, as in HTML.
    pub const fn tag(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::Chinese => "zh-CN",
        }
    }

    /// "Mute 6 h".
    pub fn mute_for(self, hours: u64) -> String {
        match self {
            Self::English => format!("Mute {hours} h"),
            Self::Chinese => format!("屏蔽 {hours} 小时"),
        }
    }

    /// "Unmute".
    pub fn unmute(self) -> &'static str {
        self.word(Word::Unmute)
    }

    /// "Ack".
    pub fn ack(self) -> &'static str {
        self.word(Word::Ack)
    }

    /// "Snooze 1 h".
    pub fn snooze(self) -> &'static str {
        self.word(Word::Snooze)
    }

    /// "Open".
    pub fn open(self) -> &'static str {
        self.word(Word::Open)
    }

    /// That a person's claim ends, or has ended, at a moment.
    pub(crate) fn your_time_ends(self, at: &str, has_ended: bool) -> String {
        match (self, has_ended) {
            (Self::English, false) => format!("Your ack ends at {at}"),
            (Self::English, true) => format!("Your ack ended at {at}, and it still fires"),
            (Self::Chinese, false) => format!("您的认领将于 {at} 到期"),
            (Self::Chinese, true) => format!("您的认领已于 {at} 到期,告警仍在触发"),
        }
    }

    /// "and 3 more".
    pub fn and_more(self, count: u64) -> String {
        match self {
            Self::English => format!("and {count} more"),
            Self::Chinese => format!("另有 {count} 条"),
        }
    }

    /// "12 disk full e.g. web-03".
    pub(crate) fn so_many(self, count: usize, name: &str, place: &str) -> String {
        let what = format!("{count} {name}");
        match (self, place) {
            (_, "") => what.trim_end().to_owned(),
            (Self::English, place) => format!("{what} e.g. {place}"),
            (Self::Chinese, place) => format!("{what} 例如 {place}"),
        }
    }

    /// "12 alerts: 10 firing, 2 recovered".
    pub fn counted(self, firing: usize, resolved: usize) -> String {
        let all = firing + resolved;
        match self {
            Self::English => format!("{all} alerts: {firing} firing, {resolved} recovered"),
            Self::Chinese => format!("{all} 条告警:{firing} 条触发,{resolved} 条恢复"),
        }
    }
}

const fn both(word: Word) -> (&'static str, &'static str) {
    match word {
        Word::Recovered => ("recovered", "已恢复"),
        Word::Since => ("Since", "开始时间"),
        Word::Until => ("Until", "恢复时间"),
        Word::Value => ("Value", "当前值"),
        Word::Summary => ("Summary", "摘要"),
        Word::Description => ("Description", "详情"),
        Word::Runbook => ("Runbook", "处理手册"),
        Word::Labels => ("Labels", "标签"),
        Word::Endpoint => ("Endpoint", "主机"),
        Word::Recipient => ("To", "接收人"),
        Word::Counter => ("Counter", "监控项"),
        Word::Unmute => ("Unmute", "取消屏蔽"),
        Word::Ack => ("Ack", "认领"),
        Word::Snooze => ("Snooze 1 h", "推迟 1 小时"),
        Word::Open => ("Open", "查看"),
        Word::Digest => ("digest", "汇总"),
        Word::Test => ("test", "测试"),
        Word::TestText => {
            ("This is a test of the receiver. Nothing is wrong.", "这是一条测试消息,没有故障。")
        }
        Word::Reminder => ("reminder", "提醒"),
        Word::KeepIt => (
            "Ack it again to keep it; otherwise everybody is told again.",
            "如需继续处理请再次认领,否则将再次通知所有人。",
        ),
        Word::Note => ("Note", "备注"),
        Word::Severity => ("Severity", "级别"),
        Word::QuietHours => ("after your quiet hours", "免打扰时段内的消息"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_language_is_named_by_its_tag() {
        for language in [Language::English, Language::Chinese] {
            let text = serde_json::to_string(&language).unwrap();
            assert_eq!(text, format!("\"{}\"", language.tag()));
        }
        assert!(serde_json::from_str::<Language>("\"tlh\"").is_err());
    }

    #[test]
    fn numbers_are_put_into_sentences() {
        assert_eq!(Language::English.mute_for(6), "Mute 6 h");
        assert_eq!(Language::Chinese.mute_for(24), "屏蔽 24 小时");
        assert_eq!(Language::English.counted(10, 2), "12 alerts: 10 firing, 2 recovered");
        assert!(Language::Chinese.and_more(3).contains('3'));
    }
}
