//! Renders a tree: what Go's `text/template` does with it, within limits.

mod range;

use std::borrow::Cow;

use gotmpl::parse::{BranchNode, CommandNode, Expr, ListNode, Node, Number, PipeNode, Pos};

use crate::parse::{Definition, Template};
use crate::print;
use crate::value::Value;
use crate::{Answer, Escape, Fault, Function, Limits, Own};

/// Branches, calls and parentheses within each other.
const DEPTH_MAX: usize = 100;

/// What comes after a node.
enum Flow {
    Next,
    Break,
    Continue,
}

struct Run<'t> {
    template: &'t Template,
    own: &'t Own<'t>,
    limits: &'t Limits,
    escape: Option<Escape>,
    out: String,
    variables: Vec<(&'t str, Value)>,
    /// Where it stands, for the message of a failure.
    body: &'t Definition,
    at: Pos,
    depth: usize,
    work_left: usize,
    rounds_left: u64,
    steps_left: u64,
    calls_left: u64,
}

pub(crate) fn run(
    template: &Template,
    data: &Value,
    own: &Own<'_>,
    limits: &Limits,
    escape: Option<Escape>,
) -> Result<String, Fault> {
    let body = template.main();
    let mut run = Run {
        template,
        own,
        limits,
        escape,
        out: String::new(),
        variables: vec![("$", data.to_owned())],
        body,
        at: body.body.pos,
        depth: 0,
        work_left: limits.work_bytes_max,
        rounds_left: limits.rounds_max,
        steps_left: limits.steps_max,
        calls_left: limits.calls_max,
    };
    match run.list(data, &body.body) {
        Ok(_) => Ok(run.out),
        Err(message) => Err(run.body.source.fault(run.at.offset, message)),
    }
}

fn spend(left: &mut u64, message: impl FnOnce() -> String) -> Result<(), String> {
    *left = left.checked_sub(1).ok_or_else(message)?;
    Ok(())
}

impl<'t> Run<'t> {
    fn list(&mut self, dot: &Value, list: &'t ListNode) -> Result<Flow, String> {
        for node in &list.nodes {
            let most = self.limits.steps_max;
            spend(&mut self.steps_left, || format!("more than {most} steps"))?;
            match self.node(dot, node)? {
                Flow::Next => {}
                flow => return Ok(flow),
            }
        }
        Ok(Flow::Next)
    }

    fn node(&mut self, dot: &Value, node: &'t Node) -> Result<Flow, String> {
        match node {
            Node::List(list) => return self.list(dot, list),
            Node::Text(text) => self.put(&text.text)?,
            Node::Action(action) => {
                self.at = action.pos;
                let value = self.pipe(dot, &action.pipe)?;
                if action.pipe.decl.is_empty() {
                    self.print(&value)?;
                }
            }
            Node::If(branch) => return self.condition(dot, branch, false),
            Node::With(branch) => return self.condition(dot, branch, true),
            Node::Range(branch) => self.range(dot, branch)?,
            Node::Template(call) => {
                self.at = call.pos;
                let value = match &call.pipe {
                    Some(pipe) => self.pipe(dot, pipe)?,
                    None => Value::Nil,
                };
                self.at = call.pos;
                self.call_template(&call.name, &value)?;
            }
            Node::Define(_) => {}
            Node::Break(_) => return Ok(Flow::Break),
            Node::Continue(_) => return Ok(Flow::Continue),
        }
        Ok(Flow::Next)
    }

    fn put(&mut self, text: &str) -> Result<(), String> {
        let most = self.limits.output_bytes_max;
        if self.out.len() + text.len() > most {
            return Err(format!("more than {most} bytes"));
        }
        self.out.push_str(text);
        Ok(())
    }

    fn print(&mut self, value: &Value) -> Result<(), String> {
        let text: Cow<'_, str> = match value {
            Value::Nil => "<no value>".into(),
            Value::Text(text) => Cow::Borrowed(text),
            Value::Safe(text) => return self.put(text),
            other => print::written(other)?.into(),
        };
        match self.escape {
            Some(escape) => self.put(&escape(&text)),
            None => self.put(&text),
        }
    }

    /// Goes one level deeper.
    fn deeper<T>(
        &mut self,
        work: impl FnOnce(&mut Self) -> Result<T, String>,
    ) -> Result<T, String> {
        if self.depth >= DEPTH_MAX {
            return Err(format!("it is nested more than {DEPTH_MAX} deep"));
        }
        self.depth += 1;
        let done = work(self);
        self.depth -= 1;
        done
    }

    fn condition(
        &mut self,
        dot: &Value,
        branch: &'t BranchNode,
        is_with: bool,
    ) -> Result<Flow, String> {
        let outer = self.variables.len();
        self.at = branch.pos;
        let value = self.pipe(dot, &branch.pipe)?;
        let flow = self.deeper(|run| match (value.is_true(), &branch.else_body) {
            (true, _) => run.list(if is_with { &value } else { dot }, &branch.body),
            (false, Some(body)) => run.list(dot, body),
            (false, None) => Ok(Flow::Next),
        });
        let flow = flow?;
        self.variables.truncate(outer);
        Ok(flow)
    }

    fn call_template(&mut self, name: &str, dot: &Value) -> Result<(), String> {
        let most = self.limits.calls_max;
        spend(&mut self.calls_left, || format!("more than {most} calls of templates"))?;
        let body = self.template.definition(name);
        let body = body.ok_or_else(|| format!("there is no template {name:?}"))?;
        let (caller, place) = (self.body, self.at);
        let outer = std::mem::replace(&mut self.variables, vec![("$", dot.to_owned())]);
        self.body = body;
        // After a failure the place inside is the one to tell.
        self.deeper(|run| run.list(dot, &body.body))?;
        (self.body, self.at, self.variables) = (caller, place, outer);
        Ok(())
    }

    fn assign(&mut self, name: &str, value: Value) -> Result<(), String> {
        let place = self.variables.iter_mut().rev().find(|(known, _)| *known == name);
        let place = place.ok_or_else(|| format!("there is no variable {name}"))?;
        place.1 = value;
        Ok(())
    }

    fn pipe(&mut self, dot: &Value, pipe: &'t PipeNode) -> Answer {
        let value = self.commands(dot, pipe)?;
        for name in &pipe.decl {
            if pipe.is_assign {
                self.assign(name, value.to_owned())?;
            } else {
                self.variables.push((name, value.to_owned()));
            }
        }
        Ok(value)
    }

    fn commands(&mut self, dot: &Value, pipe: &'t PipeNode) -> Answer {
        let mut last = None;
        for command in &pipe.commands {
            last = Some(self.command(dot, command, last)?);
        }
        Ok(last.unwrap_or(Value::Nil))
    }

    fn command(&mut self, dot: &Value, command: &'t CommandNode, last: Option<Value>) -> Answer {
        let Some((first, args)) = command.args.split_first() else { return Ok(Value::Nil) };
        self.at = first.pos();
        match first {
            Expr::Identifier(_, name) => self.call(dot, name, args, last),
            Expr::Field(_, names) => self.members(dot, dot.to_owned(), names, (args, last)),
            Expr::Variable(_, name, names) if !names.is_empty() => {
                let value = self.variable(name)?;
                self.members(dot, value, names, (args, last))
            }
            Expr::Chain(_, inner, names) => {
                let value = self.expr(dot, inner)?;
                self.members(dot, value, names, (args, last))
            }
            Expr::Nil(_) => Err("nil is not a command".to_owned()),
            other if args.is_empty() && last.is_none() => self.expr(dot, other),
            _ => Err("can't give arguments to what is no function".to_owned()),
        }
    }

    fn expr(&mut self, dot: &Value, expr: &'t Expr) -> Answer {
        let none: (&[Expr], Option<Value>) = (&[], None);
        match expr {
            Expr::Dot(_) => Ok(dot.to_owned()),
            Expr::Field(_, names) => self.members(dot, dot.to_owned(), names, none),
            Expr::Variable(_, name, names) => {
                let value = self.variable(name)?;
                self.members(dot, value, names, none)
            }
            Expr::Identifier(_, name) => self.call(dot, name, &[], None),
            Expr::String(_, text) => Ok(Value::Text(text.to_owned())),
            Expr::Number(_, Number::Int(number)) => Ok(Value::Int(*number)),
            Expr::Number(_, Number::Uint(number)) => Ok(Value::Float(*number as f64)),
            Expr::Number(_, Number::Float(number)) => Ok(Value::Float(*number)),
            Expr::Bool(_, value) => Ok(Value::Bool(*value)),
            Expr::Nil(_) => Ok(Value::Nil),
            Expr::Pipe(_, pipe) => self.deeper(|run| run.pipe(dot, pipe)),
            Expr::Chain(_, inner, names) => {
                let value = self.deeper(|run| run.expr(dot, inner))?;
                self.members(dot, value, names, none)
            }
        }
    }

    fn variable(&self, name: &str) -> Answer {
        let found = self.variables.iter().rev().find(|(known, _)| *known == name);
        found
            .map(|(_, value)| value.to_owned())
            .ok_or_else(|| format!("there is no variable {name}"))
    }

    /// Follows `.a.b.c`; arguments are for the last.
    fn members<N: AsRef<str>>(
        &mut self,
        dot: &Value,
        value: Value,
        names: &'t [N],
        (args, last): (&'t [Expr], Option<Value>),
    ) -> Answer {
        let Some((final_name, before)) = names.split_last() else { return Ok(value) };
        let mut value = value;
        for name in before {
            value = value.member(name.as_ref(), &[])?;
        }
        let at = self.at;
        let mut given = Vec::with_capacity(args.len() + 1);
        for arg in args {
            given.push(self.expr(dot, arg)?);
        }
        given.extend(last);
        self.at = at;
        let found = value.member(final_name.as_ref(), &given)?;
        if !given.is_empty() {
            self.charge(found.cost())?;
        }
        Ok(found)
    }

    fn call(&mut self, dot: &Value, name: &str, args: &'t [Expr], last: Option<Value>) -> Answer {
        let function = self.template.dialect().function(name);
        let function = function.ok_or_else(|| format!("there is no function {name:?}"))?;
        if let Function::Lazy = function {
            return self.lazy(dot, name == "and", args, last);
        }
        let at = self.at;
        let mut given = Vec::with_capacity(args.len() + 1);
        for arg in args {
            given.push(self.expr(dot, arg)?);
        }
        given.extend(last);
        self.at = at;
        self.charge(given.iter().map(Value::cost).sum())?;
        let answer = match function {
            Function::Pure(function) => function(&given),
            Function::Builder(function) => {
                let most = self.work_left;
                let count = |value: &Value| value.count(most);
                let counts: Option<Vec<usize>> = given.iter().map(count).collect();
                let too_deep =
                    || format!("values are nested more than {} deep", crate::NESTING_MAX);
                self.charge(counts.ok_or_else(too_deep)?.iter().sum())?;
                function(&given)
            }
            Function::Own | Function::Lazy => (self.own)(name, &given),
        };
        let answer = answer.map_err(|fault| {
            if fault.starts_with(name) { fault } else { format!("{name}: {fault}") }
        })?;
        self.charge(answer.cost())?;
        Ok(answer)
    }

    /// The first argument that decides, or the last.
    fn lazy(&mut self, dot: &Value, is_and: bool, args: &'t [Expr], last: Option<Value>) -> Answer {
        let mut value = None;
        for arg in args {
            let next = self.expr(dot, arg)?;
            if next.is_true() != is_and {
                return Ok(next);
            }
            value = Some(next);
        }
        last.or(value).ok_or_else(|| "and, or: an argument is missing".to_owned())
    }

    /// Counts work.
    fn charge(&mut self, bytes: usize) -> Result<(), String> {
        let most = self.limits.work_bytes_max;
        let left = self.work_left.checked_sub(bytes);
        self.work_left =
            left.ok_or_else(|| format!("its functions work on more than {most} bytes"))?;
        Ok(())
    }
}
