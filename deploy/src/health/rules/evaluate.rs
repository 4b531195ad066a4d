//! Evaluates an expression that was checked, with a budget: rules come from Git, and a rule that never ends or takes all
//! memory would take the agent with it.
//!
//! Promises: at most [`STEPS`] steps and [`BYTES`] bytes of new text, whatever the program and the object are; each kind of
//! work is paid for before it is done. Nothing else bounds it: there is no clock, and the result is the same each time.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::rc::Rc;

use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue, SelectExpr, operators as op};
use serde_json::Value;

use super::expression::Expression;
use super::value::{Entries, Items, Val, View};

/// A few milliseconds of work. A rule that looks at each of a thousand items takes a tenth of it.
const STEPS: usize = 200_000;
/// Far more than the message that is shown.
const BYTES: usize = 256 * 1024;
/// How many bytes of text are looked at in one step.
const STEP: usize = 64;

/// The texts of a condition. `severity` is Cluster API's and Knative's.
const CONDITION: [&str; 4] = ["status", "reason", "message", "severity"];

/// Why there is no result.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Fail {
    /// The expression does not fit the object. `||` and `&&` may not need it.
    Error(String),
    /// The budget is used up: nothing can excuse that.
    TooExpensive(&'static str),
}

type Result<T> = std::result::Result<T, Fail>;

fn error<T>(message: impl Into<String>) -> Result<T> {
    Err(Fail::Error(message.into()))
}

/// What an expression can name.
pub(super) struct Variables<'a> {
    pub(super) object: &'a Value,
    /// Which state is explained; empty while it is looked for.
    pub(super) state: &'a str,
    /// Conditions that speak of an older one say nothing.
    pub(super) generation: Option<i64>,
}

/// The result of an expression over an object.
pub(super) fn evaluate<'a>(expression: &'a Expression, variables: &Variables<'a>) -> Result<Val<'a>> {
    let mut run = Run { expression, variables, scope: Vec::new(), steps: STEPS, bytes: BYTES };
    run.value(&expression.program)
}

struct Run<'a, 'r> {
    expression: &'a Expression,
    variables: &'r Variables<'a>,
    /// Variables of the comprehensions around, the innermost last.
    scope: Vec<(&'a str, Val<'a>)>,
    steps: usize,
    bytes: usize,
}

impl<'a> Run<'a, '_> {
    fn pay(&mut self, steps: usize) -> Result<()> {
        self.steps = self.steps.checked_sub(steps).ok_or(Fail::TooExpensive("it takes more than 200,000 steps"))?;
        Ok(())
    }

    fn pay_text(&mut self, bytes: usize) -> Result<()> {
        self.pay(bytes / STEP)?;
        self.bytes = self.bytes.checked_sub(bytes).ok_or(Fail::TooExpensive("it makes more than 256 KiB of text"))?;
        Ok(())
    }

    fn value(&mut self, expr: &'a IdedExpr) -> Result<Val<'a>> {
        self.pay(1)?;
        match &expr.expr {
            Expr::Literal(literal) => Ok(constant(literal)),
            Expr::Ident(name) => self.variable(name),
            Expr::Select(select) => self.select(select),
            Expr::Call(call) => self.call(expr.id, call),
            Expr::List(list) => {
                let items = list.elements.iter().map(|item| self.value(item)).collect::<Result<Vec<_>>>()?;
                Ok(Val::List(Rc::new(items)))
            }
            Expr::Map(map) => {
                let mut entries = BTreeMap::new();
                for entry in &map.entries {
                    let EntryExpr::MapEntry(entry) = &entry.expr else { continue };
                    let key = self.value(&entry.key)?;
                    let View::Text(key) = key.view() else { return error("the keys of a map have to be texts") };
                    self.pay_text(key.len())?;
                    let key = key.to_owned();
                    entries.insert(key, self.value(&entry.value)?);
                }
                Ok(Val::Map(Rc::new(entries)))
            }
            Expr::Comprehension(comprehension) => self.comprehension(comprehension),
            Expr::Struct(_) | Expr::Unspecified => error("it is no expression"),
        }
    }

    fn variable(&mut self, name: &str) -> Result<Val<'a>> {
        if let Some((_, value)) = self.scope.iter().rev().find(|(known, _)| *known == name) {
            return Ok(value.clone());
        }
        let object = self.variables.object;
        // What is missing of an object is empty, so that `has(status.phase)` needs no `has(object.status)` before it.
        let part = |value: &'a Value| if value.is_object() { Val::Json(value) } else { Val::Map(Rc::default()) };
        match name {
            "object" => Ok(Val::Json(object)),
            "metadata" | "spec" | "status" => Ok(part(&object[name])),
            "state" => Ok(Val::Literal(self.variables.state)),
            _ => error(format!("nothing is called `{name}`")),
        }
    }

    fn select(&mut self, select: &'a SelectExpr) -> Result<Val<'a>> {
        let operand = self.value(&select.operand)?;
        if select.test {
            return match operand.view() {
                View::Map(entries) => Ok(Val::Bool(entries.get(&select.field).is_some())),
                View::Optional(value) => {
                    let found = value.map(|value| field(value, &select.field)).transpose()?;
                    Ok(Val::Bool(found.flatten().is_some()))
                }
                _ => error(format!("`has` of a field of {}", operand.type_name())),
            };
        }
        let found = inside(operand, false, |value| field(value, &select.field))?;
        found.map_or_else(|| error(format!("there is no field `{}`", select.field)), Ok)
    }

    fn call(&mut self, id: u64, call: &'a CallExpr) -> Result<Val<'a>> {
        let args = call.args.as_slice();
        match (call.func_name.as_str(), args) {
            (op::CONDITIONAL, [condition, yes, no]) => {
                let yes = if self.truth(condition)? { yes } else { no };
                self.value(yes)
            }
            (op::LOGICAL_AND, [left, right]) => self.either(left, right, false),
            (op::LOGICAL_OR, [left, right]) => self.either(left, right, true),
            (op::LOGICAL_NOT, [operand]) => Ok(Val::Bool(!self.truth(operand)?)),
            // Whether a comprehension goes on: an error in one step may not matter when the next decides.
            (op::NOT_STRICTLY_FALSE, [operand]) => match self.truth(operand) {
                Err(Fail::Error(_)) => Ok(Val::Bool(true)),
                other => other.map(Val::Bool),
            },
            (op::ADD, [left, right]) => self.sum(left, right),
            (op::OPT_SELECT, [operand, name]) => {
                let (operand, name) = (self.value(operand)?, self.value(name)?);
                let View::Text(name) = name.view() else { return error("`.?` needs the name of a field") };
                inside(operand, true, |value| field(value, name))?.map_or_else(|| error("there is no such field"), Ok)
            }
            (op::INDEX | op::OPT_INDEX, [operand, index]) => {
                let (operand, index) = (self.value(operand)?, self.value(index)?);
                let found = inside(operand, call.func_name == op::OPT_INDEX, |value| item(value, &index))?;
                found.map_or_else(|| error("there is no such item"), Ok)
            }
            (name, [operand]) if call.target.is_none() => {
                let operand = self.value(operand)?;
                self.unary(name, &operand)
            }
            (name, [left, right]) if call.target.is_none() => {
                let (left, right) = (self.value(left)?, self.value(right)?);
                self.binary(name, &left, &right)
            }
            (name, args) => {
                let Some(target) = &call.target else { return error(format!("`{name}` is no function")) };
                let target = self.value(target)?;
                let argument = args.first().map(|argument| self.value(argument)).transpose()?;
                self.method(id, name, target, argument)
            }
        }
    }

    fn truth(&mut self, expr: &'a IdedExpr) -> Result<bool> {
        let value = self.value(expr)?;
        match value.view() {
            View::Bool(value) => Ok(value),
            _ => error(format!("{} stands where a bool is needed", value.type_name())),
        }
    }

    /// `||` (decided by true) and `&&` (decided by false): an error on one side doesn't matter if the other decides.
    fn either(&mut self, left: &'a IdedExpr, right: &'a IdedExpr, decisive: bool) -> Result<Val<'a>> {
        let left = match self.truth(left) {
            Ok(value) if value == decisive => return Ok(Val::Bool(decisive)),
            Err(Fail::TooExpensive(why)) => return Err(Fail::TooExpensive(why)),
            left => left,
        };
        match (left, self.truth(right)) {
            (_, Ok(value)) if value == decisive => Ok(Val::Bool(decisive)),
            (Err(error), _) => Err(error),
            (Ok(_), right) => right.map(Val::Bool),
        }
    }

    /// `+`. What a comprehension collects is taken out of its variable and put back by its next step: copied at each step,
    /// a list would cost its square.
    fn sum(&mut self, left: &'a IdedExpr, right: &'a IdedExpr) -> Result<Val<'a>> {
        if let (Expr::Ident(name), Expr::List(_)) = (&left.expr, &right.expr)
            && name.starts_with('@')
        {
            let right = self.value(right)?;
            let collected = self.scope.iter_mut().rev().find(|(known, _)| known == name);
            if let (Some((_, collected)), View::List(more)) = (collected, right.view()) {
                let mut collected = std::mem::replace(collected, Val::Bool(false));
                if let Val::List(items) = &mut collected {
                    Rc::make_mut(items).extend(more.iter());
                    return Ok(collected);
                }
            }
            return error("a list can't be put together");
        }
        let (left, right) = (self.value(left)?, self.value(right)?);
        match (left.view(), right.view()) {
            (View::Text(left), View::Text(right)) => {
                self.pay_text(left.len() + right.len())?;
                Ok(Val::text([left, right].concat()))
            }
            (View::List(left), View::List(right)) => {
                self.pay(left.len() + right.len())?;
                Ok(Val::List(Rc::new(left.iter().chain(right.iter()).collect())))
            }
            _ => self.binary(op::ADD, &left, &right),
        }
    }

    fn unary(&mut self, name: &str, operand: &Val<'a>) -> Result<Val<'a>> {
        match (name, operand.view()) {
            (op::NEGATE, View::Int(number)) => {
                number.checked_neg().map(Val::Int).map_or_else(|| error("the number is too large"), Ok)
            }
            (op::NEGATE, View::Double(number)) => Ok(Val::Double(-number)),
            ("size", _) => self.size(operand),
            ("condition", View::Text(kind)) => self.condition(&Val::Json(&self.variables.object["status"]["conditions"]), kind),
            ("string", View::Text(_)) => Ok(operand.clone()),
            ("string", View::Int(number)) => Ok(Val::text(number.to_string())),
            ("string", View::Double(number)) => Ok(Val::text(number.to_string())),
            ("string", View::Bool(value)) => Ok(Val::text(value.to_string())),
            ("int", View::Int(number)) => Ok(Val::Int(number)),
            ("int", View::Double(number)) if number.abs() < 9.0e18 => Ok(Val::Int(number as i64)),
            ("int", View::Text(text)) => text.parse().map(Val::Int).or_else(|_| error("the text is no int")),
            ("double", View::Int(number)) => Ok(Val::Double(number as f64)),
            ("double", View::Double(number)) => Ok(Val::Double(number)),
            ("double", View::Text(text)) => text.parse().map(Val::Double).or_else(|_| error("the text is no double")),
            _ => error(format!("`{}` doesn't work on {}", spoken(name), operand.type_name())),
        }
    }

    fn binary(&mut self, name: &str, left: &Val<'a>, right: &Val<'a>) -> Result<Val<'a>> {
        let overflow = || Fail::Error("the number is too large, or divided by zero".into());
        match (name, left.view(), right.view()) {
            (op::EQUALS, ..) => self.equal(left, right).map(Val::Bool),
            (op::NOT_EQUALS, ..) => self.equal(left, right).map(|equal| Val::Bool(!equal)),
            (op::IN, _, View::List(items)) => {
                for item in items.iter() {
                    if self.equal(left, &item)? {
                        return Ok(Val::Bool(true));
                    }
                }
                Ok(Val::Bool(false))
            }
            (op::IN, View::Text(key), View::Map(entries)) => Ok(Val::Bool(entries.get(key).is_some())),
            (op::LESS | op::LESS_EQUALS | op::GREATER | op::GREATER_EQUALS, ..) => {
                let order = self.order(left, right)?;
                Ok(Val::Bool(match name {
                    op::LESS => order == Some(Ordering::Less),
                    op::LESS_EQUALS => matches!(order, Some(Ordering::Less | Ordering::Equal)),
                    op::GREATER => order == Some(Ordering::Greater),
                    _ => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
                }))
            }
            (_, View::Int(left), View::Int(right)) => {
                let result = match name {
                    op::ADD => left.checked_add(right),
                    op::SUBSTRACT => left.checked_sub(right),
                    op::MULTIPLY => left.checked_mul(right),
                    op::DIVIDE => left.checked_div(right),
                    op::MODULO => left.checked_rem(right),
                    _ => return error(format!("`{}` doesn't work on ints", spoken(name))),
                };
                result.map(Val::Int).ok_or_else(overflow)
            }
            (_, View::Double(left), View::Double(right)) => Ok(Val::Double(match name {
                op::ADD => left + right,
                op::SUBSTRACT => left - right,
                op::MULTIPLY => left * right,
                op::DIVIDE => left / right,
                _ => return error(format!("`{}` doesn't work on doubles", spoken(name))),
            })),
            _ => error(format!("`{}` doesn't work on {} and {}", spoken(name), left.type_name(), right.type_name())),
        }
    }

    fn method(&mut self, id: u64, name: &str, target: Val<'a>, argument: Option<Val<'a>>) -> Result<Val<'a>> {
        match (name, target.view(), argument.as_ref().map(Val::view)) {
            ("orValue", View::Optional(value), Some(_)) => {
                Ok(value.cloned().or(argument).expect("because the arm has an argument"))
            }
            ("hasValue", View::Optional(value), None) => Ok(Val::Bool(value.is_some())),
            ("value", View::Optional(value), None) => value.cloned().map_or_else(|| error("there is no value"), Ok),
            ("size", _, None) => self.size(&target),
            ("condition", _, Some(View::Text(kind))) => self.condition(&target, kind),
            ("startsWith", View::Text(text), Some(View::Text(other))) => Ok(Val::Bool(text.starts_with(other))),
            ("endsWith", View::Text(text), Some(View::Text(other))) => Ok(Val::Bool(text.ends_with(other))),
            ("contains", View::Text(text), Some(View::Text(other))) => {
                self.pay(text.len() / STEP)?;
                Ok(Val::Bool(text.contains(other)))
            }
            ("matches", View::Text(text), Some(View::Text(pattern))) => {
                // The pattern was compiled when the expression was read; a match takes time for text and pattern.
                self.pay(1 + text.len() / STEP * (1 + pattern.len() / 8))?;
                match self.expression.patterns.get(&id) {
                    Some(pattern) => Ok(Val::Bool(pattern.is_match(text))),
                    None => error("the pattern has to be a literal"),
                }
            }
            ("lowerAscii", View::Text(text), None) => {
                self.pay_text(text.len())?;
                Ok(Val::text(text.to_ascii_lowercase()))
            }
            ("join", View::List(items), Some(View::Text(between))) => self.join(items, between),
            _ => error(format!("`{name}` doesn't work on {}", target.type_name())),
        }
    }

    fn size(&mut self, value: &Val<'a>) -> Result<Val<'a>> {
        let size = match value.view() {
            View::Text(text) => {
                self.pay(text.len() / STEP)?;
                text.chars().count()
            }
            View::List(items) => items.len(),
            View::Map(entries) => entries.len(),
            _ => return error(format!("{} has no size", value.type_name())),
        };
        Ok(Val::Int(i64::try_from(size).unwrap_or(i64::MAX)))
    }

    fn join(&mut self, items: Items<'_, 'a>, between: &str) -> Result<Val<'a>> {
        let mut joined = String::new();
        for (index, item) in items.iter().enumerate() {
            let View::Text(text) = item.view() else { return error(format!("`join` of {}", item.type_name())) };
            self.pay_text(text.len() + between.len() + 1)?;
            if index > 0 {
                joined.push_str(between);
            }
            joined.push_str(text);
        }
        Ok(Val::text(joined))
    }

    /// The condition of a type, the last one of several; with empty texts if there is none, so that it can be looked at.
    /// One that speaks of an older generation is `Unknown`.
    fn condition(&mut self, conditions: &Val<'a>, kind: &str) -> Result<Val<'a>> {
        let mut found = BTreeMap::from(CONDITION.map(|name| (name.to_owned(), Val::Literal(""))));
        found.insert("type".into(), Val::text(kind));
        if let View::List(items) = conditions.view() {
            self.pay(items.len())?;
            let is_it = |condition: &Val<'a>| matches!(condition.view(), View::Map(fields) if is_text(fields, "type", kind));
            if let Some(condition) = items.iter().filter(is_it).last()
                && let View::Map(fields) = condition.view()
            {
                for name in CONDITION {
                    if let Some(value) = fields.get(name).filter(|value| matches!(value.view(), View::Text(_))) {
                        found.insert(name.into(), value);
                    }
                }
                found.extend(fields.get("lastTransitionTime").map(|value| ("lastTransitionTime".to_owned(), value)));
                if let (Some(View::Int(seen)), Some(generation)) =
                    (fields.get("observedGeneration").as_ref().map(Val::view), self.variables.generation)
                    && seen < generation
                {
                    found.insert("status".into(), Val::Literal("Unknown"));
                    found.insert("reason".into(), Val::Literal("NotObserved"));
                }
            }
        }
        Ok(Val::Map(Rc::new(found)))
    }

    fn comprehension(&mut self, it: &'a ComprehensionExpr) -> Result<Val<'a>> {
        let range = self.value(&it.iter_range)?;
        let keys: Vec<Val<'a>>;
        let items = match range.view() {
            View::List(items) => items,
            View::Map(entries) => {
                self.pay(entries.len())?;
                let mut texts = Vec::new();
                for key in entries.keys() {
                    self.pay_text(key.len())?;
                    texts.push(Val::text(key));
                }
                keys = texts;
                Items::Own(&keys)
            }
            _ => return error(format!("{} has no items", range.type_name())),
        };
        let start = self.value(&it.accu_init)?;
        let depth = self.scope.len();
        self.scope.push((&it.accu_var, start));
        // A step that fails is remembered: a later one may decide all the same, as `||` and `&&` do.
        let mut failed = None;
        for item in items.iter() {
            let go_on = self.truth(&it.loop_cond);
            if !matches!(go_on, Ok(true)) {
                go_on?;
                break;
            }
            self.scope.push((&it.iter_var, item));
            let step = self.value(&it.loop_step);
            self.scope.truncate(depth + 1);
            match step {
                Ok(value) => {
                    if failed.is_some() && matches!(value.view(), View::Bool(decisive) if decisive == decides(it)) {
                        failed = None;
                    }
                    self.scope[depth].1 = value;
                }
                Err(Fail::Error(message)) if is_quantifier(it) => failed = failed.or(Some(message)),
                Err(fail) => return Err(fail),
            }
        }
        let result = match failed {
            Some(message) => error(message),
            None => self.value(&it.result),
        };
        self.scope.truncate(depth);
        result
    }

    fn equal(&mut self, left: &Val<'a>, right: &Val<'a>) -> Result<bool> {
        self.pay(1)?;
        Ok(match (left.view(), right.view()) {
            (View::Null, View::Null) => true,
            (View::Bool(left), View::Bool(right)) => left == right,
            (View::Text(left), View::Text(right)) => {
                self.pay(left.len().min(right.len()) / STEP)?;
                left == right
            }
            (View::List(left), View::List(right)) => {
                if left.len() != right.len() {
                    return Ok(false);
                }
                for (left, right) in left.iter().zip(right.iter()) {
                    if !self.equal(&left, &right)? {
                        return Ok(false);
                    }
                }
                true
            }
            (View::Map(left), View::Map(right)) => {
                if left.len() != right.len() {
                    return Ok(false);
                }
                self.pay(left.len())?;
                for key in left.keys() {
                    let (Some(left), Some(right)) = (left.get(key), right.get(key)) else { return Ok(false) };
                    if !self.equal(&left, &right)? {
                        return Ok(false);
                    }
                }
                true
            }
            (View::Optional(None), View::Optional(None)) => true,
            (View::Optional(Some(left)), View::Optional(Some(right))) => self.equal(left, right)?,
            (View::Int(_) | View::Double(_), View::Int(_) | View::Double(_)) => self.order(left, right)? == Some(Ordering::Equal),
            _ => false,
        })
    }

    fn order(&mut self, left: &Val<'a>, right: &Val<'a>) -> Result<Option<Ordering>> {
        match (left.view(), right.view()) {
            (View::Int(left), View::Int(right)) => Ok(Some(left.cmp(&right))),
            (View::Int(left), View::Double(right)) => Ok((left as f64).partial_cmp(&right)),
            (View::Double(left), View::Int(right)) => Ok(left.partial_cmp(&(right as f64))),
            (View::Double(left), View::Double(right)) => Ok(left.partial_cmp(&right)),
            (View::Bool(left), View::Bool(right)) => Ok(Some(left.cmp(&right))),
            (View::Text(left), View::Text(right)) => {
                self.pay(left.len().min(right.len()) / STEP)?;
                Ok(Some(left.cmp(right)))
            }
            _ => error(format!("{} and {} have no order", left.type_name(), right.type_name())),
        }
    }
}

/// Whether a comprehension is `exists` or `all`.
fn is_quantifier(it: &ComprehensionExpr) -> bool {
    matches!(&it.loop_cond.expr, Expr::Call(call) if call.func_name == op::NOT_STRICTLY_FALSE)
}

/// Which result of a step decides: true for `exists`, false for `all`.
fn decides(it: &ComprehensionExpr) -> bool {
    matches!(&it.loop_step.expr, Expr::Call(call) if call.func_name == op::LOGICAL_OR)
}

fn is_text(fields: Entries<'_, '_>, name: &str, wanted: &str) -> bool {
    fields.get(name).is_some_and(|value| matches!(value.view(), View::Text(text) if text == wanted))
}

/// Takes a part of a value. The parts of an optional are optional, and so is what is asked for with `?`.
fn inside<'a>(value: Val<'a>, optional: bool, part: impl FnOnce(&Val<'a>) -> Result<Option<Val<'a>>>) -> Result<Option<Val<'a>>> {
    match &value {
        Val::Optional(None) => Ok(Some(value)),
        Val::Optional(Some(inner)) => Ok(Some(Val::Optional(part(inner)?.map(Rc::new)))),
        _ if optional => Ok(Some(Val::Optional(part(&value)?.map(Rc::new)))),
        _ => part(&value),
    }
}

fn field<'a>(value: &Val<'a>, name: &str) -> Result<Option<Val<'a>>> {
    match value.view() {
        View::Map(entries) => Ok(entries.get(name)),
        _ => error(format!("{} has no field `{name}`", value.type_name())),
    }
}

fn item<'a>(value: &Val<'a>, index: &Val<'a>) -> Result<Option<Val<'a>>> {
    match (value.view(), index.view()) {
        (View::Map(entries), View::Text(key)) => Ok(entries.get(key)),
        (View::List(items), View::Int(index)) => Ok(usize::try_from(index).ok().and_then(|index| items.get(index))),
        _ => error(format!("{} has no items by {}", value.type_name(), index.type_name())),
    }
}

fn constant(literal: &LiteralValue) -> Val<'_> {
    match literal {
        LiteralValue::Boolean(value) => Val::Bool(*value.inner()),
        LiteralValue::Int(number) => Val::Int(*number.inner()),
        LiteralValue::UInt(number) => Val::Int(i64::try_from(*number.inner()).unwrap_or(i64::MAX)),
        LiteralValue::Double(number) => Val::Double(*number.inner()),
        LiteralValue::String(text) => Val::Literal(text.inner()),
        // Bytes are refused when an expression is read.
        LiteralValue::Null | LiteralValue::Bytes(_) => Val::Json(&Value::Null),
    }
}

/// An operator as it is written: `_+_` is `+`.
fn spoken(name: &str) -> &str {
    name.trim_matches(|letter| letter == '_' || letter == '@')
}
