//! What a template may spend.
//!
//! Three things are counted while a template runs: the text that it writes, the memory that it
//! asks for, and the work that it does beyond its instructions, such as going through lists and
//! comparing texts. None is ever given back, so the sums bound the whole run.
//!
//! A value may hold another one many times over without taking memory for it: `[a, a]`, a list of
//! two of these, and so on. Whatever goes through such a value does so as often as its parts
//! occur. Therefore each list and dictionary is weighed when it is made, with parts that occur
//! twice counted twice, and none may be heavier than [`Budget::largest`].

use super::functions::failed;
use super::python::DEEPEST;
use minijinja::value::{Value, ValueKind};
use minijinja::{Error, ErrorKind};
use std::error::Error as _;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The longest text, in bytes: more than the longest context of any model.
pub(super) const LONGEST: usize = 8 << 20;
/// What one entry of a list or a dictionary counts, in bytes.
pub(super) const ENTRY: usize = 32;
/// The memory of a template, in bytes, and how many times the weight of the conversation more.
const MEMORY: (usize, usize) = (64 << 20, 32);
/// The work of a template, and how many times the weight of the conversation more. A unit takes
/// about a nanosecond.
const WORK: (usize, usize) = (1 << 30, 256);
/// The heaviest value, in bytes, and how many times the weight of the conversation more.
const HEAVIEST: (usize, usize) = (16 << 20, 8);
/// How many bytes of a text are copied or compared for one unit of work.
const BYTES_A_UNIT: usize = 4;
/// How many units of work a byte takes in a text that is gone through letter by letter.
const UNITS_A_LETTER: usize = 3;
/// The longest part, in bytes, that is found in a text as fast as texts are compared.
const SHORT_PART: usize = 32;

/// What a template has left.
#[derive(Debug)]
pub(super) struct Budget {
    text: AtomicUsize,
    memory: AtomicUsize,
    work: AtomicUsize,
    /// The heaviest value that may be made, in bytes.
    largest: usize,
}

/// Which limit a template went over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exceeded {
    Text,
    Memory,
    Work,
}

impl Exceeded {
    /// The limit that an error is about, if it is about one.
    pub(super) fn of(error: &Error) -> Option<Self> {
        error.source()?.downcast_ref::<Exceeded>().copied()
    }
}

impl std::fmt::Display for Exceeded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Exceeded::Text => "too much text",
            Exceeded::Memory => "too much memory",
            Exceeded::Work => "too much work",
        })
    }
}

impl std::error::Error for Exceeded {}

impl From<Exceeded> for Error {
    fn from(limit: Exceeded) -> Self {
        Error::new(ErrorKind::InvalidOperation, limit.to_string()).with_source(limit)
    }
}

/// The type of the one kind of value that a template can change, by its name because it is
/// private to the engine.
static NAMESPACE: LazyLock<Option<&'static str>> = LazyLock::new(|| {
    let namespace = minijinja::functions::namespace(None).ok()?;
    namespace.as_object().map(|object| object.type_name())
});

/// Whether a value is a namespace. Only variables hold one: inside of a list, or of itself, it
/// could grow after the list was weighed.
pub(super) fn is_namespace(value: &Value) -> bool {
    value.kind() == ValueKind::Map
        && value.as_object().is_some_and(|object| Some(object.type_name()) == *NAMESPACE)
}

impl Budget {
    /// The budget for one conversation, given as the variables of the template.
    ///
    /// # Errors
    /// When the variables are nested too deeply.
    pub(super) fn new(variables: &Value) -> Result<Self, Error> {
        let most = || AtomicUsize::new(usize::MAX);
        let unbounded = Budget { text: most(), memory: most(), work: most(), largest: usize::MAX };
        let weight = unbounded.walk(variables)?;
        let with =
            |(base, times): (usize, usize)| weight.saturating_mul(times).saturating_add(base);
        Ok(Budget {
            text: AtomicUsize::new(LONGEST),
            memory: AtomicUsize::new(with(MEMORY)),
            work: AtomicUsize::new(with(WORK)),
            largest: with(HEAVIEST),
        })
    }

    /// Takes from the text that may be written.
    pub(super) fn write(&self, bytes: usize) -> Result<(), Error> {
        take(&self.text, bytes, Exceeded::Text)
    }

    /// Takes from the memory, in bytes.
    pub(super) fn make(&self, bytes: usize) -> Result<(), Error> {
        take(&self.memory, bytes, Exceeded::Memory)
    }

    /// Whether one value of some bytes could be made.
    pub(super) fn fits(&self, bytes: usize) -> Result<(), Error> {
        match bytes <= self.largest.min(self.memory.load(Ordering::Relaxed)) {
            true => Ok(()),
            false => Err(Exceeded::Memory.into()),
        }
    }

    /// Takes from the work.
    pub(super) fn work(&self, units: usize) -> Result<(), Error> {
        take(&self.work, units, Exceeded::Work)
    }

    /// Takes the work of looking at a text of some bytes.
    pub(super) fn scan(&self, bytes: usize) -> Result<(), Error> {
        self.work(bytes / BYTES_A_UNIT + 1)
    }

    /// Takes the work of going through a value and everything in it.
    pub(super) fn read(&self, value: &Value) -> Result<(), Error> {
        let weight = self.walk(value)?;
        self.scan(weight)
    }

    /// Takes the work of looking at values from outside: at texts, not at what is in lists.
    pub(super) fn peek(&self, values: &[Value]) -> Result<(), Error> {
        let bytes: usize = values.iter().filter_map(Value::as_str).map(str::len).sum();
        self.scan(bytes + values.len() * ENTRY)
    }

    /// Takes the work of comparing two values.
    pub(super) fn compare(&self, one: &Value, other: &Value) -> Result<(), Error> {
        match (one.as_str(), other.as_str()) {
            (Some(one), Some(other)) => self.scan(one.len().min(other.len())),
            (None, None) if one.as_object().is_some() && other.as_object().is_some() => {
                self.read(one)
            }
            _ => Ok(()),
        }
    }

    /// Takes the work of finding a value in a container.
    pub(super) fn find(&self, container: &Value, value: &Value) -> Result<(), Error> {
        match (container.as_str(), value.as_str()) {
            (Some(text), Some(part)) if part.len() <= SHORT_PART => self.scan(text.len()),
            (Some(text), _) => {
                self.read(value)?;
                self.letters(text.len() + 2 * value.as_str().map_or(0, str::len))
            }
            (None, _) if matches!(container.kind(), ValueKind::Seq | ValueKind::Iterable) => {
                let items = container.len().unwrap_or_default();
                self.work(items.saturating_mul(2 * ENTRY))?;
                if value.as_str().is_none() && value.as_object().is_none() {
                    return Ok(());
                }
                self.work(items.saturating_mul(2 * ENTRY))?;
                match container.downcast_object_ref::<Vec<Value>>() {
                    Some(items) => items.iter().try_for_each(|item| self.compare(value, item)),
                    None => container.try_iter()?.try_for_each(|item| self.compare(value, &item)),
                }
            }
            // A dictionary looks at the key alone.
            _ => self.read(value),
        }
    }

    /// Takes the work of going through a text of some bytes letter by letter.
    pub(super) fn letters(&self, bytes: usize) -> Result<(), Error> {
        self.work(bytes.saturating_mul(UNITS_A_LETTER))
    }

    /// Takes the memory of a value that was just made, and gives it back with its items at hand:
    /// the engine makes many lists only when they are gone through, each time anew.
    pub(super) fn weigh(&self, value: Value) -> Result<Value, Error> {
        let value = match value.kind() {
            ValueKind::String => {
                let bytes = value.as_str().map_or(0, str::len) + ENTRY;
                self.fits(bytes)?;
                self.make(bytes)?;
                return Ok(value);
            }
            ValueKind::Iterable => Value::from(self.items(&value)?),
            ValueKind::Seq => {
                self.make(value.len().unwrap_or_default().saturating_mul(ENTRY) + ENTRY)?;
                value
            }
            ValueKind::Map => {
                self.make(value.len().unwrap_or_default().saturating_mul(2 * ENTRY) + ENTRY)?;
                value
            }
            _ => return Ok(value),
        };
        self.walk(&value)?;
        if value.kind() == ValueKind::Seq {
            // Lists of pairs are made in one go.
            for item in value.try_iter()?.filter(|item| item.kind() == ValueKind::Seq) {
                self.make(item.len().unwrap_or_default().saturating_mul(ENTRY) + ENTRY)?;
            }
        }
        Ok(value)
    }

    /// The items of anything that can be gone through, with their memory taken.
    pub(super) fn items(&self, value: &Value) -> Result<Vec<Value>, Error> {
        let mut items = Vec::new();
        for item in value.try_iter()? {
            self.make(ENTRY)?;
            items.push(item);
        }
        Ok(items)
    }

    /// The weight of a value in bytes, its parts counted as often as they occur. Takes the work
    /// of finding out.
    pub(super) fn walk(&self, value: &Value) -> Result<usize, Error> {
        let mut walk = Walk {
            weight: 0,
            largest: self.largest,
            units: 0,
            most: self.work.load(Ordering::Relaxed),
        };
        let done = walk.visit(value, 0);
        self.work(walk.units)?;
        done.map(|()| walk.weight)
    }
}

/// Going through a value.
struct Walk {
    weight: usize,
    largest: usize,
    units: usize,
    most: usize,
}

impl Walk {
    fn visit(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        self.units += ENTRY;
        self.weight += ENTRY + value.as_str().map_or(0, str::len);
        if self.units > self.most {
            return Err(Exceeded::Work.into());
        }
        if self.weight > self.largest {
            return Err(Exceeded::Memory.into());
        }
        if depth > DEEPEST {
            return Err(failed(format!("a value is nested deeper than {DEEPEST} levels")));
        }
        match value.kind() {
            ValueKind::Seq | ValueKind::Iterable => {
                if let Some(items) = value.downcast_object_ref::<Vec<Value>>() {
                    return items.iter().try_for_each(|item| self.visit(item, depth + 1));
                }
                for item in value.try_iter()? {
                    self.visit(&item, depth + 1)?;
                }
            }
            ValueKind::Map => {
                if depth > 0 && is_namespace(value) {
                    return Err(failed("a namespace cannot be inside of another value"));
                }
                let pairs = value.as_object().and_then(|object| object.try_iter_pairs());
                for (key, field) in pairs.into_iter().flatten() {
                    self.visit(&key, depth + 1)?;
                    self.visit(&field, depth + 1)?;
                }
            }
            // An error that a list met when it was gone through.
            ValueKind::Invalid => return Err(failed("a list holds what could not be made")),
            _ => {}
        }
        Ok(())
    }
}

fn take(left: &AtomicUsize, amount: usize, limit: Exceeded) -> Result<(), Error> {
    let rest = |left: usize| left.checked_sub(amount);
    match left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, rest) {
        Ok(_) => Ok(()),
        Err(_) => Err(limit.into()),
    }
}
