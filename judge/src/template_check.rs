//! Finds functions that a template names and nobody offers, when the template is loaded.
//!
//! The crate behind [`crate::template`] looks a function up when it is called, so a mistyped name in a branch
//! that is rarely taken would come to light only when the alert fires.

use gotmpl::FuncMap;
use gotmpl::parse::{Expr, ListNode, Node, Parser, PipeNode};

/// The functions of Go's own templates.
const BUILT_IN: [&str; 19] = [
    "and", "or", "not", "eq", "ne", "lt", "le", "gt", "ge", "len", "index", "slice", "print",
    "printf", "println", "html", "js", "urlquery", "call",
];

/// The first unknown function with its line.
pub(crate) fn unknown_function(
    source: &str,
    known: &FuncMap,
) -> Result<Option<(String, usize)>, gotmpl::TemplateError> {
    let (body, definitions) = Parser::new(source, "{{", "}}")?.parse()?;
    let mut search = Search { known, found: None };
    search.list(&body);
    for definition in &definitions {
        search.list(&definition.body);
    }
    Ok(search.found)
}

struct Search<'a> {
    known: &'a FuncMap,
    found: Option<(String, usize)>,
}

impl Search<'_> {
    fn list(&mut self, list: &ListNode) {
        for node in &list.nodes {
            self.node(node);
        }
    }

    fn node(&mut self, node: &Node) {
        match node {
            Node::List(list) => self.list(list),
            Node::Action(action) => self.pipe(&action.pipe),
            Node::If(branch) | Node::Range(branch) | Node::With(branch) => {
                self.pipe(&branch.pipe);
                self.list(&branch.body);
                branch.else_body.iter().for_each(|body| self.list(body));
            }
            Node::Template(call) => call.pipe.iter().for_each(|pipe| self.pipe(pipe)),
            Node::Define(definition) => self.list(&definition.body),
            Node::Text(_) | Node::Break(_) | Node::Continue(_) => {}
        }
    }

    fn pipe(&mut self, pipe: &PipeNode) {
        for command in &pipe.commands {
            command.args.iter().for_each(|expr| self.expr(expr));
        }
    }

    fn expr(&mut self, expr: &Expr) {
        match expr {
            Expr::Identifier(at, name) => {
                let is_known =
                    BUILT_IN.contains(&name.as_str()) || self.known.contains_key(name.as_str());
                if !is_known && self.found.is_none() {
                    self.found = Some((name.to_string(), at.line));
                }
            }
            Expr::Pipe(_, pipe) => self.pipe(pipe),
            Expr::Chain(_, inner, _) => self.expr(inner),
            _ => {}
        }
    }
}
