//! What an expression computes with: borrowed from the object wherever it can be, so that looking at a large object costs
//! no memory.

use std::collections::BTreeMap;
use std::rc::Rc;

use serde_json::Value;

/// One value.
#[derive(Clone, Debug)]
pub(super) enum Val<'a> {
    /// A piece of the object.
    Json(&'a Value),
    Bool(bool),
    Int(i64),
    Double(f64),
    /// A text of the program.
    Literal(&'a str),
    /// A text that was put together.
    Text(Rc<str>),
    List(Rc<Vec<Val<'a>>>),
    Map(Rc<BTreeMap<String, Val<'a>>>),
    /// What `.?` and `[?]` give.
    Optional(Option<Rc<Val<'a>>>),
}

/// The same, whoever owns it.
pub(super) enum View<'v, 'a> {
    Null,
    Bool(bool),
    Int(i64),
    Double(f64),
    Text(&'v str),
    List(Items<'v, 'a>),
    Map(Entries<'v, 'a>),
    Optional(Option<&'v Val<'a>>),
}

#[derive(Clone, Copy)]
pub(super) enum Items<'v, 'a> {
    Json(&'a [Value]),
    Own(&'v [Val<'a>]),
}

#[derive(Clone, Copy)]
pub(super) enum Entries<'v, 'a> {
    Json(&'a serde_json::Map<String, Value>),
    Own(&'v BTreeMap<String, Val<'a>>),
}

impl<'a> Val<'a> {
    pub(super) fn text(text: impl AsRef<str>) -> Val<'a> {
        Val::Text(text.as_ref().into())
    }

    pub(super) fn view(&self) -> View<'_, 'a> {
        match self {
            Val::Json(json) => match json {
                Value::Null => View::Null,
                Value::Bool(value) => View::Bool(*value),
                Value::Number(number) => match number.as_i64() {
                    Some(number) => View::Int(number),
                    None => View::Double(number.as_f64().unwrap_or(f64::NAN)),
                },
                Value::String(text) => View::Text(text),
                Value::Array(items) => View::List(Items::Json(items)),
                Value::Object(entries) => View::Map(Entries::Json(entries)),
            },
            Val::Bool(value) => View::Bool(*value),
            Val::Int(number) => View::Int(*number),
            Val::Double(number) => View::Double(*number),
            Val::Literal(text) => View::Text(text),
            Val::Text(text) => View::Text(text),
            Val::List(items) => View::List(Items::Own(items)),
            Val::Map(entries) => View::Map(Entries::Own(entries)),
            Val::Optional(value) => View::Optional(value.as_deref()),
        }
    }

    /// As messages of errors call it.
    pub(super) fn type_name(&self) -> &'static str {
        match self.view() {
            View::Null => "null",
            View::Bool(_) => "a bool",
            View::Int(_) => "an int",
            View::Double(_) => "a double",
            View::Text(_) => "a text",
            View::List(_) => "a list",
            View::Map(_) => "a map",
            View::Optional(_) => "an optional",
        }
    }
}

impl<'a> Items<'_, 'a> {
    pub(super) fn len(self) -> usize {
        match self {
            Items::Json(items) => items.len(),
            Items::Own(items) => items.len(),
        }
    }

    pub(super) fn get(self, index: usize) -> Option<Val<'a>> {
        match self {
            Items::Json(items) => items.get(index).map(Val::Json),
            Items::Own(items) => items.get(index).cloned(),
        }
    }

    pub(super) fn iter(self) -> impl Iterator<Item = Val<'a>> {
        (0..self.len()).filter_map(move |index| self.get(index))
    }
}

impl<'v, 'a> Entries<'v, 'a> {
    pub(super) fn len(self) -> usize {
        match self {
            Entries::Json(entries) => entries.len(),
            Entries::Own(entries) => entries.len(),
        }
    }

    pub(super) fn get(self, key: &str) -> Option<Val<'a>> {
        match self {
            Entries::Json(entries) => entries.get(key).map(Val::Json),
            Entries::Own(entries) => entries.get(key).cloned(),
        }
    }

    pub(super) fn keys(self) -> Vec<&'v str>
    where
        'a: 'v,
    {
        match self {
            Entries::Json(entries) => entries.keys().map(String::as_str).collect(),
            Entries::Own(entries) => entries.keys().map(String::as_str).collect(),
        }
    }
}
