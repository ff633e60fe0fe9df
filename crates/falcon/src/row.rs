//! One row of a table, read leniently: databases of twenty years hold numbers as texts and texts as NULL.

use std::fmt;

use serde::Serialize;
use serde_json::{Map, Value};

/// A row that cannot be used, and why. The rows beside it are read all the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RowFault {
    /// The table.
    pub table: &'static str,
    /// The row's `id`, or its place in the list from 1 when it has none.
    pub row: String,
    /// What is wrong with it.
    pub reason: String,
}

impl fmt::Display for RowFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.table, self.row, self.reason)
    }
}

/// A row of a table.
pub(crate) struct Row<'a> {
    table: &'static str,
    place: usize,
    fields: &'a Map<String, Value>,
}

impl<'a> Row<'a> {
    /// The row at this place, counted from 0.
    pub(crate) fn new(
        table: &'static str,
        place: usize,
        value: &'a Value,
    ) -> Result<Self, RowFault> {
        match value {
            Value::Object(fields) => Ok(Self { table, place, fields }),
            _ => Err(RowFault {
                table,
                row: format!("row {}", place + 1),
                reason: "it is no object".to_owned(),
            }),
        }
    }

    /// Says what is wrong with the row.
    pub(crate) fn fault(&self, reason: impl Into<String>) -> RowFault {
        let row = match self.field("id") {
            Value::Number(id) => id.to_string(),
            Value::String(id) if !id.is_empty() => id.chars().take(32).collect(),
            _ => format!("row {}", self.place + 1),
        };
        RowFault { table: self.table, row, reason: reason.into() }
    }

    fn field(&self, column: &str) -> &'a Value {
        self.fields.get(column).unwrap_or(&Value::Null)
    }

    /// A text without spaces around it; empty for NULL or a column that is not there.
    pub(crate) fn text(&self, column: &str) -> Result<String, RowFault> {
        match self.field(column) {
            Value::Null => Ok(String::new()),
            Value::String(text) => Ok(text.trim().to_owned()),
            Value::Number(number) => Ok(number.to_string()),
            Value::Bool(flag) => Ok(u8::from(*flag).to_string()),
            _ => Err(self.fault(format!("{column} is no text"))),
        }
    }

    /// A text that must not be empty.
    pub(crate) fn word(&self, column: &str) -> Result<String, RowFault> {
        let text = self.text(column)?;
        if text.is_empty() { Err(self.fault(format!("{column} is empty"))) } else { Ok(text) }
    }

    /// A number; `default` for NULL, nothing or a column that is not there.
    pub(crate) fn number_or(&self, column: &str, default: f64) -> Result<f64, RowFault> {
        let text = self.text(column)?;
        if text.is_empty() {
            return Ok(default);
        }
        let number = text.parse().ok().filter(|number: &f64| number.is_finite());
        number.ok_or_else(|| self.fault(format!("{column} is {text:?} and no decimal number")))
    }

    /// A whole number; `default` for NULL, nothing or a column that is not there.
    pub(crate) fn integer_or(&self, column: &str, default: i64) -> Result<i64, RowFault> {
        let text = self.text(column)?;
        if text.is_empty() {
            return Ok(default);
        }
        text.parse().map_err(|_| self.fault(format!("{column} is {text:?} and no whole number")))
    }

    /// A positive whole number, as ids are.
    pub(crate) fn id(&self, column: &str) -> Result<i64, RowFault> {
        match self.integer_or(column, 0)? {
            id if id > 0 => Ok(id),
            _ => Err(self.fault(format!("{column} is missing"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_may_be_texts_and_null_is_the_default() {
        let value = json!({ "id": "7", "step": 60, "mock": "-1.5", "note": null, "pause": true });
        let row = Row::new("strategy", 0, &value).unwrap();
        assert_eq!(row.id("id"), Ok(7));
        assert_eq!(row.integer_or("step", 1), Ok(60));
        assert_eq!(row.number_or("mock", 0.0), Ok(-1.5));
        assert_eq!(row.text("note"), Ok(String::new()));
        assert_eq!(row.integer_or("pause", 0), Ok(1));
        assert_eq!(row.integer_or("absent", 3), Ok(3));
    }

    #[test]
    fn a_fault_names_the_table_and_the_row() {
        let value = json!({ "id": 7, "step": "often", "note": [] });
        let row = Row::new("mockcfg", 4, &value).unwrap();
        let fault = row.integer_or("step", 60).unwrap_err().to_string();
        assert_eq!(fault, "mockcfg 7: step is \"often\" and no whole number");
        assert_eq!(row.text("note").unwrap_err().to_string(), "mockcfg 7: note is no text");
        let fault = Row::new("host", 4, &json!(1)).err().unwrap().to_string();
        assert_eq!(fault, "host row 5: it is no object");
    }

    proptest! {
        #[test]
        fn no_text_makes_a_row_panic(text in "\\PC{0,12}", infinite in "(?i)nan|inf|-inf|1e999") {
            let value = json!({ "id": text, "x": infinite });
            let row = Row::new("t", 0, &value).unwrap();
            let _ = row.id("id");
            let _ = row.integer_or("id", 0);
            prop_assert!(row.number_or("x", 0.0).is_err());
        }
    }
}
