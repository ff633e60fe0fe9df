//! Finds what a template names and nobody offers, when it is loaded: a mistyped name in a branch that is rarely taken
//! would come to light only when the alert fires.

use std::collections::HashSet;

use gotmpl::parse::{BranchNode, Expr, ListNode, Node, PipeNode};

use crate::parse::Definition;
use crate::{Dialect, Fault};

/// Functions and variables that are not there, with their places in bytes.
pub(crate) fn unknown(body: &ListNode, dialect: &Dialect) -> Vec<(usize, String)> {
    let mut search = Search { dialect, scope: vec!["$"], found: Vec::new() };
    search.list(body);
    search.found
}

struct Search<'a> {
    dialect: &'a Dialect,
    scope: Vec<&'a str>,
    found: Vec<(usize, String)>,
}

impl<'a> Search<'a> {
    fn list(&mut self, list: &'a ListNode) {
        for node in &list.nodes {
            self.node(node);
        }
    }

    fn node(&mut self, node: &'a Node) {
        match node {
            Node::List(list) => self.list(list),
            Node::Action(action) => self.pipe(&action.pipe),
            Node::If(branch) | Node::Range(branch) | Node::With(branch) => self.branch(branch),
            Node::Template(call) => call.pipe.iter().for_each(|pipe| self.pipe(pipe)),
            Node::Define(_) | Node::Text(_) | Node::Break(_) | Node::Continue(_) => {}
        }
    }

    /// Variables of a branch end with it.
    fn branch(&mut self, branch: &'a BranchNode) {
        let outer = self.scope.len();
        self.pipe(&branch.pipe);
        let own = self.scope.len();
        self.list(&branch.body);
        self.scope.truncate(own);
        branch.else_body.iter().for_each(|body| self.list(body));
        self.scope.truncate(outer);
    }

    fn pipe(&mut self, pipe: &'a PipeNode) {
        for command in &pipe.commands {
            command.args.iter().for_each(|expr| self.expr(expr));
        }
        for name in &pipe.decl {
            if pipe.is_assign {
                self.variable(pipe.pos.offset, name);
            } else {
                self.scope.push(name);
            }
        }
    }

    fn expr(&mut self, expr: &'a Expr) {
        match expr {
            Expr::Identifier(at, name) if self.dialect.function(name).is_none() => {
                self.found.push((at.offset, format!("there is no function {name:?}")));
            }
            Expr::Variable(at, name, _) => self.variable(at.offset, name),
            Expr::Pipe(_, pipe) => self.pipe(pipe),
            Expr::Chain(_, inner, _) => self.expr(inner),
            _ => {}
        }
    }

    fn variable(&mut self, offset: usize, name: &str) {
        if !self.scope.contains(&name) {
            self.found.push((offset, format!("there is no variable {name}")));
        }
    }
}

/// Calls of templates in a body that are not known.
pub(crate) fn missing(body: &Definition, is_known: &dyn Fn(&str) -> bool) -> Vec<Fault> {
    let mut calls = Vec::new();
    calls_of(&body.body, &mut calls);
    let missing = calls.into_iter().filter(|(_, name)| !is_known(name));
    missing
        .map(|(at, name)| body.source.fault(at, format!("there is no template {name:?}")))
        .collect()
}

/// Calls of templates that are not known, in a body and in all that it calls.
pub(crate) fn missing_from<'a>(
    main: &'a Definition,
    find: &dyn Fn(&str) -> Option<&'a Definition>,
) -> Vec<Fault> {
    let (mut faults, mut seen, mut open) = (Vec::new(), HashSet::new(), vec![main]);
    while let Some(body) = open.pop() {
        faults.extend(missing(body, &|name| find(name).is_some()));
        let mut calls = Vec::new();
        calls_of(&body.body, &mut calls);
        for (_, name) in calls {
            if seen.insert(name) {
                open.extend(find(name));
            }
        }
    }
    faults
}

fn calls_of<'a>(list: &'a ListNode, calls: &mut Vec<(usize, &'a str)>) {
    for node in &list.nodes {
        match node {
            Node::List(list) => calls_of(list, calls),
            Node::If(branch) | Node::Range(branch) | Node::With(branch) => {
                calls_of(&branch.body, calls);
                branch.else_body.iter().for_each(|body| calls_of(body, calls));
            }
            Node::Template(call) => calls.push((call.pos.offset, call.name.as_str())),
            _ => {}
        }
    }
}
