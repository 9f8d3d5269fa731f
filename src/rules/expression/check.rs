//! What an expression may hold, decided when it is loaded.

use cel::Context;
use cel::common::ast::{CallExpr, EntryExpr, Expr, IdedExpr, LiteralValue};

/// The most nodes of the syntax tree, with macros such as `exists` expanded.
const MAX_NODES: usize = 256;

const VARIABLES: [&str; 2] = ["event", "vars"];
const TYPES: [&str; 10] =
    ["bool", "bytes", "double", "int", "list", "map", "null_type", "string", "type", "uint"];
const FUNCTIONS: [&str; 25] = [
    "bool",
    "bytes",
    "contains",
    "double",
    "duration",
    "dyn",
    "endsWith",
    "getDate",
    "getDayOfMonth",
    "getDayOfWeek",
    "getDayOfYear",
    "getFullYear",
    "getHours",
    "getMilliseconds",
    "getMinutes",
    "getMonth",
    "getSeconds",
    "int",
    "matches",
    "size",
    "startsWith",
    "string",
    "timestamp",
    "type",
    "uint",
];

/// Says everything that is wrong with a tree, as it was parsed.
pub(super) fn check(tree: &IdedExpr) -> Result<(), Vec<String>> {
    let nodes = count(tree);
    if nodes > MAX_NODES {
        return Err(vec![format!(
            "has {nodes} syntax nodes; at most {MAX_NODES} are allowed, so split it over nodes of the chain"
        )]);
    }
    let mut check = Check { scope: vec![], inside: false, faults: vec![] };
    check.visit(tree);
    check.faults.dedup();
    if check.faults.is_empty() { Ok(()) } else { Err(check.faults) }
}

/// The number of levels of a tree.
pub(super) fn depth(tree: &IdedExpr) -> usize {
    1 + children(&tree.expr).into_iter().map(depth).max().unwrap_or(0)
}

fn count(tree: &IdedExpr) -> usize {
    1 + children(&tree.expr).into_iter().map(count).sum::<usize>()
}

fn children(expr: &Expr) -> Vec<&IdedExpr> {
    match expr {
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => vec![],
        Expr::Call(call) => call.target.as_deref().into_iter().chain(&call.args).collect(),
        Expr::Comprehension(c) => {
            vec![&c.iter_range, &c.accu_init, &c.loop_cond, &c.loop_step, &c.result]
        }
        Expr::List(list) => list.elements.iter().collect(),
        Expr::Map(map) => map.entries.iter().flat_map(|entry| entries(&entry.expr)).collect(),
        Expr::Struct(it) => it.entries.iter().flat_map(|entry| entries(&entry.expr)).collect(),
        Expr::Select(select) => vec![&select.operand],
    }
}

fn entries(entry: &EntryExpr) -> Vec<&IdedExpr> {
    match entry {
        EntryExpr::StructField(field) => vec![&field.value],
        EntryExpr::MapEntry(entry) => vec![&entry.key, &entry.value],
    }
}

struct Check<'t> {
    /// The variables of the comprehensions around the node.
    scope: Vec<&'t str>,
    /// Whether the node is in the body of a comprehension.
    inside: bool,
    faults: Vec<String>,
}

impl<'t> Check<'t> {
    fn visit(&mut self, tree: &'t IdedExpr) {
        match &tree.expr {
            Expr::Unspecified => self.faults.push("is not complete".to_owned()),
            Expr::Struct(it) => {
                self.faults.push(format!("cannot make a `{}`; write a map", it.type_name));
            }
            Expr::Ident(name) => self.name(name),
            Expr::Comprehension(comprehension) => {
                self.visit(&comprehension.iter_range);
                if self.inside {
                    let message = "has a comprehension (all, exists, exists_one, filter, map) inside another; split it over two nodes";
                    self.faults.push(message.to_owned());
                    return;
                }
                self.inside = true;
                self.scope = vec![&comprehension.iter_var, &comprehension.accu_var];
                self.scope.extend(comprehension.iter_var2.as_deref());
                for body in [
                    &comprehension.accu_init,
                    &comprehension.loop_cond,
                    &comprehension.loop_step,
                    &comprehension.result,
                ] {
                    self.visit(body);
                }
                self.scope.clear();
                self.inside = false;
            }
            expr => {
                if let Expr::Call(call) = expr {
                    self.function(call);
                }
                children(expr).into_iter().for_each(|child| self.visit(child));
            }
        }
    }

    fn name(&mut self, name: &str) {
        if !VARIABLES.contains(&name) && !TYPES.contains(&name) && !self.scope.contains(&name) {
            self.faults.push(format!("does not know `{name}`; there are `event` and `vars`"));
        }
    }

    fn function(&mut self, call: &CallExpr) {
        let name = call.func_name.as_str();
        // Operators, and what macros expand to, have names that cannot be written: `_+_`, `@in`.
        let written = name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.".contains(&b));
        if written && !FUNCTIONS.contains(&name) {
            self.faults.push(format!("calls `{name}`, which does not exist"));
        }
        if name == "matches" {
            self.faults.extend(pattern(call).err());
        }
    }
}

/// A regular expression is compiled wherever it is used, so it has to be fixed and sound.
fn pattern(call: &CallExpr) -> Result<(), String> {
    let Some(pattern @ IdedExpr { expr: Expr::Literal(LiteralValue::String(_)), .. }) =
        call.args.last()
    else {
        return Err("needs the pattern of matches() as a literal text".to_owned());
    };
    let empty = IdedExpr { id: 0, expr: Expr::Literal(LiteralValue::String("".into())) };
    let attempt = CallExpr {
        func_name: call.func_name.clone(),
        target: None,
        args: vec![empty, pattern.clone()],
    };
    let attempt = IdedExpr { id: 0, expr: Expr::Call(attempt) };
    match cel::Value::resolve(&attempt, &Context::with_env(super::ENVIRONMENT.clone())) {
        Ok(_) => Ok(()),
        Err(_) => {
            Err("has a pattern in matches() that is not a regular expression, or too large a one"
                .to_owned())
        }
    }
}
