//! Rewrites the tree of a parsed template, for what the crate behind [`crate::template`] cannot do or bound:
//! numbers are printed as Go prints them, calls of templates are counted, and times and durations have
//! methods.

use gotmpl::parse::{BranchNode, CommandNode, Expr, ListNode, Node, PipeNode, Pos, SmolStr};

use crate::template_time;

/// Prints a value; stands at the end of every action.
pub(crate) const OUT: &str = "__out";
/// Counts the call of a template; stands at the beginning of every definition.
pub(crate) const TICK: &str = "__tick";
/// Calls a method: the value, its name, its arguments.
pub(crate) const METHOD: &str = "__method";

/// Rewrites the body of a definition.
pub(crate) fn definition(mut body: ListNode) -> ListNode {
    list(&mut body);
    let tick = call(body.pos, TICK, Vec::new());
    body.nodes.insert(0, action(body.pos, tick));
    body
}

fn list(list: &mut ListNode) {
    list.nodes.iter_mut().for_each(node);
}

fn node(node: &mut Node) {
    match node {
        Node::List(inner) => list(inner),
        Node::Action(action) => {
            pipe(&mut action.pipe);
            if action.pipe.decl.is_empty() {
                action.pipe.commands.push(call(action.pos, OUT, Vec::new()));
            }
        }
        Node::If(inner) | Node::Range(inner) | Node::With(inner) => branch(inner),
        Node::Template(called) => called.pipe.iter_mut().for_each(pipe),
        Node::Text(_) | Node::Define(_) | Node::Break(_) | Node::Continue(_) => {}
    }
}

fn branch(branch: &mut BranchNode) {
    pipe(&mut branch.pipe);
    list(&mut branch.body);
    branch.else_body.iter_mut().for_each(list);
}

fn pipe(pipe: &mut PipeNode) {
    for command in &mut pipe.commands {
        command.args.iter_mut().skip(1).for_each(expr);
        let Some(first) = command.args.first_mut() else { continue };
        match method(first) {
            // The arguments of the command are those of the method.
            Some((mut receiver, name)) => {
                expr(&mut receiver);
                let pos = first.pos();
                let mut args = vec![receiver, Expr::String(pos, name.as_str().into())];
                args.extend(command.args.drain(1..));
                *command = call(pos, METHOD, args);
            }
            None => expr(first),
        }
    }
}

fn expr(expr: &mut Expr) {
    if let Some((receiver, name)) = method(expr) {
        let pos = expr.pos();
        let called = call(pos, METHOD, vec![receiver, Expr::String(pos, name.as_str().into())]);
        *expr = Expr::Pipe(
            pos,
            PipeNode { pos, decl: Vec::new(), commands: vec![called], is_assign: false },
        );
    }
    match expr {
        Expr::Pipe(_, inner) => {
            // What was just made above is a call whose receiver is still to be looked at.
            pipe(inner);
        }
        Expr::Chain(_, inner, _) => self::expr(inner),
        _ => {}
    }
}

/// What the method at the end of an expression is called on, and its name.
fn method(expr: &Expr) -> Option<(Expr, SmolStr)> {
    let (Expr::Field(_, fields) | Expr::Variable(_, _, fields) | Expr::Chain(_, _, fields)) = expr
    else {
        return None;
    };
    let (name, left) = fields.split_last()?;
    if !template_time::is_method(name) {
        return None;
    }
    let left = left.to_vec();
    let receiver = match expr {
        Expr::Field(pos, _) if left.is_empty() => Expr::Dot(*pos),
        Expr::Field(pos, _) => Expr::Field(*pos, left),
        Expr::Variable(pos, variable, _) => Expr::Variable(*pos, variable.clone(), left),
        Expr::Chain(_, inner, _) if left.is_empty() => inner.as_ref().clone(),
        Expr::Chain(pos, inner, _) => Expr::Chain(*pos, inner.clone(), left),
        _ => return None,
    };
    Some((receiver, name.clone()))
}

fn call(pos: Pos, name: &str, args: Vec<Expr>) -> CommandNode {
    let mut all = vec![Expr::Identifier(pos, SmolStr::new(name))];
    all.extend(args);
    CommandNode { pos, args: all }
}

fn action(pos: Pos, command: CommandNode) -> Node {
    let pipe = PipeNode { pos, decl: Vec::new(), commands: vec![command], is_assign: false };
    Node::Action(gotmpl::parse::ActionNode { pos, pipe })
}
