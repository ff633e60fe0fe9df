//! Loops.

use gotmpl::parse::BranchNode;

use super::{Flow, Run, spend};
use crate::value::Value;

impl<'t> Run<'t> {
    pub(super) fn range(&mut self, dot: &Value, branch: &'t BranchNode) -> Result<(), String> {
        let outer = self.variables.len();
        self.at = branch.pos;
        let over = self.commands(dot, &branch.pipe)?;
        let count = match &over {
            Value::Int(count) => usize::try_from(*count).unwrap_or(0),
            Value::Nil => 0,
            Value::Text(_) | Value::Safe(_) => return Err("range can't iterate over a text".into()),
            other => other
                .len()
                .ok_or_else(|| format!("range can't iterate over {}", other.type_name()))?,
        };
        if count == 0 {
            if let Some(body) = &branch.else_body {
                self.deeper(|run| run.list(dot, body))?;
            }
            self.variables.truncate(outer);
            return Ok(());
        }
        match &over {
            Value::List(list) => {
                let pairs = list.items.iter().enumerate();
                self.rounds(branch, pairs.map(|(at, item)| (whole(at), item.to_owned())))?;
            }
            Value::Labels(labels) => {
                let pairs =
                    labels.iter().map(|(name, value)| (Value::text(name), Value::text(value)));
                self.rounds(branch, pairs)?;
            }
            Value::Pairs(pairs) => {
                let pairs = pairs.iter();
                let pairs = pairs
                    .map(|(name, value)| (Value::text(name.as_str()), Value::text(value.as_str())));
                self.rounds(branch, pairs)?;
            }
            Value::Map(map) => {
                let pairs = map.iter();
                let pairs =
                    pairs.map(|(name, item)| (Value::Text(name.to_owned()), item.to_owned()));
                self.rounds(branch, pairs)?;
            }
            _ => self.rounds(branch, (0..count).map(|at| (whole(at), whole(at))))?,
        }
        self.variables.truncate(outer);
        Ok(())
    }

    fn rounds(
        &mut self,
        branch: &'t BranchNode,
        items: impl Iterator<Item = (Value, Value)>,
    ) -> Result<(), String> {
        let outer = self.variables.len();
        let most = self.limits.rounds_max;
        for (key, item) in items {
            self.at = branch.pos;
            spend(&mut self.rounds_left, || {
                format!("range iteration over more than {most} rounds")
            })?;
            let decl = &branch.pipe.decl;
            let values = match decl.as_slice() {
                [] => vec![],
                [one] => vec![(one, item.to_owned())],
                [first, second, ..] => vec![(first, key), (second, item.to_owned())],
            };
            for (name, value) in values {
                if branch.pipe.is_assign {
                    self.assign(name, value)?;
                } else {
                    self.variables.push((name, value));
                }
            }
            let flow = self.deeper(|run| run.list(&item, &branch.body))?;
            self.variables.truncate(outer);
            if let Flow::Break = flow {
                break;
            }
        }
        Ok(())
    }
}

fn whole(number: usize) -> Value {
    Value::Int(i64::try_from(number).unwrap_or(i64::MAX))
}
