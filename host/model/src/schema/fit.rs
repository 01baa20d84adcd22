//! Whether anything at all can fit two schemas: what comes out of a port, and what another port takes.
//!
//! Sound, and not complete: a clash is only told where no value can fit both, and whatever is not understood (patterns,
//! formats, `not`, conditions) fits. One thing is said beyond that: lists whose items can never fit clash, although an empty
//! one would do.

mod kinds;
mod number;
mod rejects;
mod side;

use serde_json::Value;

use super::pointer;
use kinds::Kinds;
use side::Side;

/// Steps of one search: no two schemas that somebody has written by hand come near.
const STEPS_MAX: u64 = 10_000;
/// Levels of the value that are looked at. Deeper, everything fits.
const LEVELS_MAX: usize = 32;
/// Choices (`anyOf`, `oneOf`) that are taken apart for one value. Further ones fit.
const CHOICES_MAX: usize = 8;
/// Names or values of a list that are looked through in the time of one step.
const LISTED_PER_STEP: usize = 16;
/// Items of a list that are looked at one by one.
const ITEMS_MAX: usize = 16;

/// Steps that are left for all searches of a document.
#[derive(Debug)]
pub struct Budget {
    left: u64,
}

impl Default for Budget {
    /// As many as a second holds, roughly.
    fn default() -> Self {
        Self { left: 1_000_000 }
    }
}

/// Where two schemas part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clash {
    /// A JSON Pointer into the value.
    pub pointer: String,
    /// What comes, in a few words.
    pub given: String,
    /// What is taken.
    pub taken: String,
}

/// Why no value that `given` describes fits `taken` at `at`, a JSON Pointer into it; none if one may. A value that is not there
/// at all does not fit.
pub fn clash(given: &Value, at: &str, taken: &Value, budget: &mut Budget) -> Option<Clash> {
    let steps = pointer::steps(at);
    let terms = vec![
        Term { side: Side::Given, root: given, schema: given, at: &[] },
        Term { side: Side::Taken, root: taken, schema: taken, at: &steps },
    ];
    let allowance = budget.left.min(STEPS_MAX);
    let mut search = Search { left: allowance, path: Vec::new() };
    let found = search.clash(terms);
    budget.left -= allowance - search.left;
    found
}

/// One thing that must hold of a value.
#[derive(Clone, Copy, Debug)]
struct Term<'s> {
    side: Side,
    /// What references are meant in.
    root: &'s Value,
    schema: &'s Value,
    /// The schema holds for what these steps lead to, which must be there.
    at: &'s [String],
}

impl<'s> Term<'s> {
    fn with(self, schema: &'s Value) -> Self {
        Self { schema, ..self }
    }

    fn key(&self, name: &str) -> Option<&'s Value> {
        if self.at.is_empty() { self.schema.get(name) } else { None }
    }

    fn count(&self, name: &str) -> Option<u64> {
        self.key(name).and_then(Value::as_u64)
    }

    fn list(&self, name: &str) -> Option<&'s Vec<Value>> {
        self.key(name).and_then(Value::as_array)
    }

    /// Steps to look at it: one for itself, and some for what it lists.
    fn steps(&self) -> usize {
        let lists = ["required", "enum", "type"].into_iter().filter_map(|key| self.list(key));
        1 + lists.map(Vec::len).sum::<usize>() / LISTED_PER_STEP
    }

    fn referred(&self) -> Option<Self> {
        let fragment = self.schema.get("$ref")?.as_str()?.strip_prefix('#')?;
        pointer::of_fragment(self.root, fragment).map(|schema| self.with(schema))
    }

    /// Before draft 2019-09 nothing counts besides a reference.
    fn is_of_an_old_draft(&self) -> bool {
        self.root.get("$schema").and_then(Value::as_str).is_some_and(|draft| draft.contains("draft-0"))
    }
}

/// What holds of one value, taken apart.
#[derive(Clone, Default)]
struct Parts<'s> {
    /// Without references and choices.
    plain: Vec<Term<'s>>,
    /// Of each at least one holds.
    choices: Vec<Vec<Term<'s>>>,
    /// How many choices have been made for this value.
    chosen: usize,
}

impl Parts<'_> {
    fn steps(&self) -> usize {
        let forms: usize = self.choices.iter().map(Vec::len).sum();
        self.plain.iter().map(Term::steps).sum::<usize>() + forms / LISTED_PER_STEP
    }
}

struct Search {
    left: u64,
    path: Vec<String>,
}

impl Search {
    /// False: enough was looked at, and what is left fits.
    fn spend(&mut self, steps: usize) -> bool {
        self.left = self.left.saturating_sub(steps as u64);
        self.left > 0 && self.path.len() <= LEVELS_MAX
    }

    fn told(&self, given: impl Into<String>, taken: impl Into<String>) -> Clash {
        let steps = self.path.iter().map(|step| format!("/{}", step.replace('~', "~0").replace('/', "~1")));
        Clash { pointer: steps.collect(), given: given.into(), taken: taken.into() }
    }

    /// Why nothing fits all of the terms.
    fn clash(&mut self, terms: Vec<Term<'_>>) -> Option<Clash> {
        self.clash_with(terms, Parts::default())
    }

    fn clash_with<'s>(&mut self, terms: Vec<Term<'s>>, mut parts: Parts<'s>) -> Option<Clash> {
        let mut open = terms;
        while let Some(term) = open.pop() {
            if !self.spend(1) {
                return None;
            }
            if !term.at.is_empty() {
                parts.plain.push(term);
                continue;
            }
            match term.schema {
                Value::Bool(false) => return Some(self.nothing_from(term.side, &parts.plain, &open)),
                Value::Object(_) => take_apart(term, &mut open, &mut parts),
                // What is no schema says nothing.
                _ => {}
            }
        }
        // Each of them is looked at once more.
        if !self.spend(parts.steps()) {
            return None;
        }
        // Also right with choices to come: they can only make less fit.
        match self.clash_of_plain(&parts.plain) {
            Some(clash) => Some(clash),
            None => self.clash_of_choices(parts),
        }
    }

    fn clash_of_choices(&mut self, mut parts: Parts<'_>) -> Option<Clash> {
        let forms = parts.choices.pop()?;
        if parts.chosen >= CHOICES_MAX {
            return None;
        }
        parts.chosen += 1;
        let mut clashes = Vec::new();
        for form in forms {
            clashes.push(self.clash_with(vec![form], parts.clone())?);
        }
        joined(clashes)
    }

    /// One side can be nothing at all.
    fn nothing_from(&self, side: Side, plain: &[Term<'_>], open: &[Term<'_>]) -> Clash {
        let others: Vec<Term<'_>> = plain.iter().chain(open).copied().collect();
        match side {
            Side::Given => self.told("nothing", Side::Taken.words(&others)),
            Side::Taken => self.told(Side::Given.words(&others), "nothing"),
        }
    }

    fn clash_of_plain(&mut self, plain: &[Term<'_>]) -> Option<Clash> {
        if let Some(values) = plain.iter().find_map(rejects::listed) {
            let fits = values.iter().any(|value| !plain.iter().any(|term| rejects::rejects(self, *term, value)));
            return (!fits).then(|| self.told(Side::Given.words(plain), Side::Taken.words(plain)));
        }
        let kinds = plain.iter().fold(Kinds::ALL, |kinds, term| kinds.and(Kinds::of(term)));
        if kinds.is_empty() {
            return Some(self.told(Side::Given.words(plain), Side::Taken.words(plain)));
        }
        if kinds.has_constant() {
            return None;
        }
        let mut clashes = Vec::new();
        if kinds.has("number") {
            clashes.push(number::clash(self, plain, kinds)?);
        }
        if kinds.has("string") {
            clashes.push(self.clash_of_strings(plain)?);
        }
        if kinds.has("array") {
            clashes.push(self.clash_of_arrays(plain)?);
        }
        if kinds.has("object") {
            clashes.push(self.clash_of_objects(plain)?);
        }
        joined(clashes)
    }

    fn clash_of_strings(&self, plain: &[Term<'_>]) -> Option<Clash> {
        let (least, most) = (most_of(plain, "minLength"), least_of(plain, "maxLength"));
        let words = |side: Side| side.bounded_words(plain, "a string", "characters", ["minLength", "maxLength"]);
        (least > most).then(|| self.told(words(Side::Given), words(Side::Taken)))
    }

    fn clash_of_arrays(&mut self, plain: &[Term<'_>]) -> Option<Clash> {
        let at = plain.iter().filter_map(|term| pointer::index(term.at.first()?)).map(|index| index as u64 + 1);
        let least = at.max().unwrap_or(0).max(most_of(plain, "minItems"));
        let most = plain.iter().filter_map(items_most).min().unwrap_or(u64::MAX);
        if least > most {
            let words = |side: Side| side.bounded_words(plain, "an array", "items", ["minItems", "maxItems"]);
            return Some(self.told(words(Side::Given), words(Side::Taken)));
        }
        if most == 0 {
            return None;
        }
        for index in 0..usize::try_from(least).unwrap_or(usize::MAX).min(ITEMS_MAX) {
            if let Some(clash) = self.at(index.to_string(), |search| search.clash(items(plain, index))) {
                return Some(clash);
            }
        }
        if least == 0 { self.clash_of_any_item(plain) } else { None }
    }

    /// Items that can never be there make a list useless, although an empty one fits: if it is the two sides that clash, and
    /// neither is a list of nothing by itself.
    fn clash_of_any_item(&mut self, plain: &[Term<'_>]) -> Option<Clash> {
        let items = items(plain, 0);
        for side in [Side::Given, Side::Taken] {
            let own: Vec<Term<'_>> = items.iter().copied().filter(|term| term.side == side).collect();
            if own.is_empty() || self.at("0".to_owned(), |search| search.clash(own)).is_some() {
                return None;
            }
        }
        self.at("0".to_owned(), |search| search.clash(items))
    }

    fn clash_of_objects(&mut self, plain: &[Term<'_>]) -> Option<Clash> {
        let required = required(plain);
        if !self.spend(required.len() * plain.len() / LISTED_PER_STEP) {
            return None;
        }
        for name in &required {
            if let Some(closed) = plain.iter().find(|term| is_closed_for(term, name)) {
                let (with, without) = (format!("an object with `{name}`"), format!("an object without `{name}`"));
                return Some(match closed.side {
                    Side::Given => self.told(without, with),
                    Side::Taken => self.told(with, without),
                });
            }
        }
        let (least, most) = (most_of(plain, "minProperties"), least_of(plain, "maxProperties"));
        if least.max(required.len() as u64) > most {
            let words = |side: Side| side.bounded_words(plain, "an object", "keys", ["minProperties", "maxProperties"]);
            return Some(self.told(words(Side::Given), words(Side::Taken)));
        }
        for name in required {
            let terms = plain.iter().filter_map(|term| property(term, name)).collect();
            if let Some(clash) = self.at(name.to_owned(), |search| search.clash(terms)) {
                return Some(clash);
            }
        }
        None
    }

    /// One step deeper in the value.
    fn at<T>(&mut self, step: String, look: impl FnOnce(&mut Self) -> T) -> T {
        self.path.push(step);
        let seen = look(self);
        self.path.pop();
        seen
    }
}

fn take_apart<'s>(term: Term<'s>, open: &mut Vec<Term<'s>>, parts: &mut Parts<'s>) {
    if let Some(referred) = term.referred() {
        open.push(referred);
        if term.is_of_an_old_draft() {
            return;
        }
    }
    open.extend(term.list("allOf").into_iter().flatten().map(|schema| term.with(schema)));
    for choice in ["anyOf", "oneOf"] {
        if let Some(forms) = term.list(choice).filter(|forms| !forms.is_empty()) {
            parts.choices.push(forms.iter().map(|schema| term.with(schema)).collect());
        }
    }
    parts.plain.push(term);
}

/// Of several clashes that together leave nothing, the one that lies deepest: it is nearest to what was meant.
fn joined(clashes: Vec<Clash>) -> Option<Clash> {
    let depth = |clash: &Clash| clash.pointer.matches('/').count();
    let deepest = clashes.iter().map(depth).max()?;
    let mut deep = clashes.into_iter().filter(|clash| depth(clash) == deepest);
    let first = deep.next()?;
    Some(deep.filter(|other| other.pointer == first.pointer).fold(first.clone(), |joined, other| Clash {
        pointer: joined.pointer,
        given: either(joined.given, &other.given),
        taken: either(joined.taken, &other.taken),
    }))
}

fn either(one: String, other: &str) -> String {
    if one.split(" or ").any(|word| word == other) || one == other { one } else { format!("{one} or {other}") }
}

fn most_of(plain: &[Term<'_>], key: &str) -> u64 {
    plain.iter().filter_map(|term| term.count(key)).max().unwrap_or(0)
}

fn least_of(plain: &[Term<'_>], key: &str) -> u64 {
    plain.iter().filter_map(|term| term.count(key)).min().unwrap_or(u64::MAX)
}

/// What a term says of the first items one by one, and of all behind them. `additionalItems` says something beside an array of
/// `items` alone.
fn listed_items<'s>(term: &Term<'s>) -> (Option<&'s Vec<Value>>, Option<&'s Value>) {
    match term.list("items") {
        Some(listed) => (Some(listed), term.key("additionalItems")),
        None => (term.list("prefixItems"), term.key("items")),
    }
}

/// Most items that a term allows.
fn items_most(term: &Term<'_>) -> Option<u64> {
    let (listed, further) = listed_items(term);
    let closed = (further == Some(&Value::Bool(false))).then(|| listed.map_or(0, Vec::len) as u64);
    closed.into_iter().chain(term.count("maxItems")).min()
}

/// What holds of the item at this place.
fn items<'s>(plain: &[Term<'s>], index: usize) -> Vec<Term<'s>> {
    let of_term = |term: &Term<'s>| {
        if let Some((step, rest)) = term.at.split_first() {
            return (pointer::index(step) == Some(index)).then_some(Term { at: rest, ..*term });
        }
        let (listed, further) = listed_items(term);
        let schema = listed.and_then(|listed| listed.get(index)).or(further)?;
        Some(term.with(schema))
    };
    plain.iter().filter_map(of_term).collect()
}

/// The names that an object must have, each once.
fn required<'s>(plain: &[Term<'s>]) -> Vec<&'s str> {
    let listed = plain.iter().filter_map(|term| term.list("required")).flatten().filter_map(Value::as_str);
    let stepped = plain.iter().filter_map(|term| term.at.first()).map(String::as_str);
    let mut names: Vec<&str> = listed.chain(stepped).collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn property<'s>(term: &Term<'s>, name: &str) -> Option<Term<'s>> {
    if let Some((step, rest)) = term.at.split_first() {
        return (step == name).then_some(Term { at: rest, ..*term });
    }
    if let Some(schema) = term.key("properties").and_then(|properties| properties.get(name)) {
        return Some(term.with(schema));
    }
    // Which names patterns are about is not looked at.
    let has_patterns = term.key("patternProperties").and_then(Value::as_object).is_some_and(|names| !names.is_empty());
    let further = term.key("additionalProperties").filter(|_| !has_patterns)?;
    Some(term.with(further))
}

/// Whether objects of this term never have the name.
fn is_closed_for(term: &Term<'_>, name: &str) -> bool {
    property(term, name).is_some_and(|term| term.at.is_empty() && *term.schema == Value::Bool(false))
}

#[cfg(test)]
mod tests;
