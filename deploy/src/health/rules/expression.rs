//! Reads an expression in CEL, the language that Kubernetes has for its own rules, and refuses what could not be evaluated:
//! unknown names and functions, what is too large or too deep, patterns that are not written out.
//!
//! Doesn't check types: an object may hold anything anywhere, and what doesn't fit is found when it is evaluated.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use cel::common::ast::{CallExpr, EntryExpr, Expr, IdedExpr, LiteralValue, operators as op};
use cel::parser::Parser;
use regex::Regex;
use tk8s_core::printable;

/// The longest expression, in bytes.
const LONGEST: usize = 4096;
/// The deepest, as it is nested by brackets and calls, and as a tree.
const DEEPEST: usize = 48;
/// The largest pattern, compiled, in bytes.
const LARGEST_PATTERN: usize = 256 * 1024;

/// What can be named.
const VARIABLES: &[&str] = &["object", "metadata", "spec", "status", "state"];

/// Functions with the number of their arguments.
const FUNCTIONS: &[(&str, usize)] = &[("size", 1), ("string", 1), ("int", 1), ("double", 1), ("condition", 1)];

/// The same, of a value: `value.name(...)`.
const METHODS: &[(&str, usize)] = &[
    ("size", 0),
    ("condition", 1),
    ("startsWith", 1),
    ("endsWith", 1),
    ("contains", 1),
    ("matches", 1),
    ("lowerAscii", 0),
    ("join", 1),
    ("orValue", 1),
    ("hasValue", 0),
    ("value", 0),
];

const OPERATORS: &[(&str, usize)] = &[
    (op::CONDITIONAL, 3),
    (op::LOGICAL_AND, 2),
    (op::LOGICAL_OR, 2),
    (op::LOGICAL_NOT, 1),
    (op::NOT_STRICTLY_FALSE, 1),
    (op::ADD, 2),
    (op::SUBSTRACT, 2),
    (op::MULTIPLY, 2),
    (op::DIVIDE, 2),
    (op::MODULO, 2),
    (op::NEGATE, 1),
    (op::EQUALS, 2),
    (op::NOT_EQUALS, 2),
    (op::LESS, 2),
    (op::LESS_EQUALS, 2),
    (op::GREATER, 2),
    (op::GREATER_EQUALS, 2),
    (op::IN, 2),
    (op::INDEX, 2),
    (op::OPT_INDEX, 2),
    (op::OPT_SELECT, 2),
];

/// An expression that can be evaluated.
#[derive(Debug)]
pub(super) struct Expression {
    pub(super) program: IdedExpr,
    /// Of each `matches`, by the call's id.
    pub(super) patterns: HashMap<u64, Regex>,
}

impl Expression {
    /// Reads the text of an expression; or what is wrong with it.
    pub(super) fn read(text: &str) -> Result<Expression, String> {
        if text.len() > LONGEST {
            return Err(format!("it is longer than {LONGEST} bytes"));
        }
        let program = parse(text)?;
        let mut check = Check { patterns: HashMap::new(), scope: Vec::new() };
        check.expression(&program, 0)?;
        let patterns = check.patterns;
        Ok(Expression { program, patterns })
    }
}

fn parse(text: &str) -> Result<IdedExpr, String> {
    let parser = Parser::new().enable_optional_syntax(true).max_recursion_depth(2 * DEEPEST as u16).error_recovery_limit(1);
    // A generated parser with a large runtime: should it ever panic, then it says no.
    let parsed = catch_unwind(AssertUnwindSafe(|| parser.parse(text))).map_err(|_| "it can't be read".to_owned())?;
    parsed.map_err(|errors| {
        let first = errors.errors.first();
        first.map_or_else(
            || "it can't be read".into(),
            |error| {
                let place = match error.pos {
                    (line, column) if line > 1 => format!(" (line {line}, column {column} of the expression)"),
                    (_, column) => format!(" (column {column} of the expression)"),
                };
                printable(error.msg.trim(), 200) + &place
            },
        )
    })
}

struct Check<'a> {
    patterns: HashMap<u64, Regex>,
    scope: Vec<&'a str>,
}

impl<'a> Check<'a> {
    fn expression(&mut self, it: &'a IdedExpr, depth: usize) -> Result<(), String> {
        if depth > DEEPEST {
            return Err("it is nested too deep".into());
        }
        let depth = depth + 1;
        match &it.expr {
            Expr::Literal(LiteralValue::Bytes(_)) => Err("bytes are not supported: write a text".into()),
            Expr::Literal(_) => Ok(()),
            Expr::Ident(name) if self.scope.contains(&name.as_str()) || VARIABLES.contains(&name.as_str()) => Ok(()),
            Expr::Ident(name) => {
                Err(format!("nothing is called `{}`: known are {}", printable(name, 40), listed(VARIABLES.iter().copied())))
            }
            Expr::Select(select) => self.expression(&select.operand, depth),
            Expr::Call(call) => self.call(it.id, call, depth),
            Expr::List(list) if list.optional_indices.is_empty() => {
                list.elements.iter().try_for_each(|item| self.expression(item, depth))
            }
            Expr::List(_) => Err("optional items of a list are not supported".into()),
            Expr::Map(map) => map.entries.iter().try_for_each(|entry| match &entry.expr {
                EntryExpr::MapEntry(entry) if !entry.optional => {
                    self.expression(&entry.key, depth)?;
                    self.expression(&entry.value, depth)
                }
                _ => Err("optional entries of a map are not supported".into()),
            }),
            Expr::Comprehension(it) => {
                if it.iter_var2.is_some() {
                    return Err("comprehensions have one variable".into());
                }
                self.expression(&it.iter_range, depth)?;
                self.expression(&it.accu_init, depth)?;
                let before = self.scope.len();
                self.scope.extend([it.accu_var.as_str(), it.iter_var.as_str()]);
                let inner = [&it.loop_cond, &it.loop_step, &it.result];
                let checked = inner.into_iter().try_for_each(|part| self.expression(part, depth));
                self.scope.truncate(before);
                checked
            }
            Expr::Struct(_) | Expr::Unspecified => Err("messages of protocol buffers are not supported".into()),
        }
    }

    fn call(&mut self, id: u64, call: &'a CallExpr, depth: usize) -> Result<(), String> {
        let (name, count) = (call.func_name.as_str(), call.args.len());
        let known = match &call.target {
            Some(_) => METHODS,
            None if OPERATORS.iter().any(|(operator, _)| *operator == name) => OPERATORS,
            None => FUNCTIONS,
        };
        match known.iter().find(|(known, _)| *known == name) {
            Some((_, wanted)) if *wanted == count => {}
            Some((_, wanted)) => return Err(format!("`{name}` takes {wanted} arguments, not {count}")),
            None => {
                let known = listed(known.iter().map(|(name, _)| *name));
                return Err(format!(
                    "there is no function `{}` here: known are {known}, and the macros `has`, `all`, `exists`, `exists_one`, `map`, `filter`",
                    printable(name, 40)
                ));
            }
        }
        if let (Some(_), "matches", [pattern]) = (&call.target, name, call.args.as_slice()) {
            self.patterns.insert(id, pattern_of(pattern)?);
        }
        call.target.iter().try_for_each(|target| self.expression(target, depth))?;
        call.args.iter().try_for_each(|argument| self.expression(argument, depth))
    }
}

/// The pattern of a `matches`. It is compiled once, which is where the time and the memory of patterns go.
fn pattern_of(it: &IdedExpr) -> Result<Regex, String> {
    let Expr::Literal(LiteralValue::String(pattern)) = &it.expr else {
        return Err("the pattern of `matches` has to be written out".into());
    };
    let built = regex::RegexBuilder::new(pattern.inner()).size_limit(LARGEST_PATTERN).dfa_size_limit(LARGEST_PATTERN).build();
    built.map_err(|error| printable(&format!("the pattern of `matches`: {error}"), 200))
}

fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}
