//! One CEL expression: compiled once, bounded, evaluated without ever taking the process down.

mod check;
mod meter;
mod value;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, LazyLock};

use cel::common::ast::IdedExpr;
use cel::{Context, Env, ExecutionError, ParseErrors};
use serde_json::Value;

pub(super) use meter::{refuel, spend};
pub(super) use value::{Container, bind};

/// The longest source, in bytes.
pub(super) const MAX_SOURCE_BYTES: usize = 4096;
/// How deep brackets, calls and conditionals may nest in a source.
const MAX_NESTING: u16 = 32;
/// At most this many things that the parser says are worth repeating.
const MAX_PARSE_FAULTS: usize = 3;

/// The functions of the language and our meter. A constant: nothing is ever added to it.
static ENVIRONMENT: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut environment = Env::stdlib().with_optional_support(false);
    meter::install(&mut environment);
    Arc::new(environment)
});

/// A context without variables.
pub(super) fn scope<'v>() -> Context<'static, 'v> {
    Context::with_env(Arc::clone(&ENVIRONMENT))
}

/// A compiled expression over `event` and `vars`.
#[derive(Debug)]
pub(super) struct Expression {
    source: String,
    tree: IdedExpr,
    depth: usize,
}

impl Expression {
    /// Compiles a source; says everything that is wrong with it. To be called on a deep stack.
    pub(super) fn compile(source: &str) -> Result<Self, Vec<String>> {
        if source.len() > MAX_SOURCE_BYTES {
            let length = source.len();
            return Err(vec![format!(
                "is {length} bytes long; at most {MAX_SOURCE_BYTES} are allowed"
            )]);
        }
        let parsed =
            catch_unwind(|| ENVIRONMENT.parser().max_recursion_depth(MAX_NESTING).parse(source));
        let mut tree = match parsed {
            Ok(Ok(tree)) => tree,
            Ok(Err(errors)) => return Err(explain(&errors)),
            Err(_) => return Err(vec!["cannot be compiled; simplify it".to_owned()]),
        };
        check::check(&tree)?;
        meter::instrument(&mut tree);
        let depth = check::depth(&tree);
        Ok(Self { source: source.to_owned(), tree, depth })
    }

    /// How many levels the tree has, which decides the stack an evaluation needs.
    pub(super) fn depth(&self) -> usize {
        self.depth
    }

    /// The value as JSON. What it costs is charged to the fuel of this thread, see [`refuel`].
    pub(super) fn evaluate(&self, scope: &Context) -> Result<Value, Problem> {
        let outcome = catch_unwind(AssertUnwindSafe(|| cel::Value::resolve(&self.tree, scope)));
        // `error || true` is true: an expression that was cut short must not look successful.
        if let Some(exceeded) = meter::exceeded() {
            return Err(exceeded);
        }
        match outcome {
            Ok(Ok(value)) => value::to_json(&value),
            Ok(Err(error)) => Err(self.problem(&error)),
            Err(_) => Err(Problem::Panicked),
        }
    }

    /// What went wrong, without any value of the event.
    fn problem(&self, error: &ExecutionError) -> Problem {
        // A name may come from the event (`event.data[event.subject]`) unless it was written here.
        let named = |name: &str| self.source.contains(name).then(|| name.to_owned());
        match error {
            ExecutionError::NoSuchKey(name) => Problem::NoSuchKey(named(name)),
            ExecutionError::UndeclaredReference(name) => Problem::Undeclared(named(name)),
            ExecutionError::NoSuchOverload(overload) => Problem::Types(overload.to_string()),
            ExecutionError::UnsupportedBinaryOperator(operator, left, right) => {
                let (left, right) = (left.type_of(), right.type_of());
                Problem::Types(format!(
                    "cannot `{operator}` {left} and {right}; convert with double(), int() or string()"
                ))
            }
            ExecutionError::UnexpectedType { got, want } => {
                Problem::Types(format!("expected {want}, got {got}"))
            }
            ExecutionError::FunctionError { function, .. } => Problem::Function(function.clone()),
            ExecutionError::DivisionByZero(_)
            | ExecutionError::RemainderByZero(_)
            | ExecutionError::Overflow(..) => Problem::Arithmetic,
            ExecutionError::IndexOutOfBounds(_) => Problem::Index,
            _ => Problem::Other,
        }
    }
}

/// Why an expression gave no usable value. The text never holds a value of the event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Problem {
    /// A key is missing; its name if the expression spells it.
    NoSuchKey(Option<String>),
    /// A variable or function does not exist; its name if the expression spells it.
    Undeclared(Option<String>),
    /// An operator or function met types it does not take.
    Types(String),
    /// A division by zero or an overflow.
    Arithmetic,
    /// A list has no such element.
    Index,
    /// A function refused its argument.
    Function(String),
    /// A list or map has more than 10,000 elements.
    TooLong,
    /// A value is nested too deep.
    TooDeep,
    /// The chain did more work on one event than a chain may.
    TooMuchWork,
    /// The value has no form in JSON.
    NotJson,
    /// A `when` gave something other than a boolean.
    NotABoolean,
    /// A `channel` gave something that is no channel name.
    NotAChannel,
    /// The interpreter failed on this expression.
    Panicked,
    /// The system gave no thread to evaluate on.
    NoThread,
    /// Anything else.
    Other,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchKey(Some(name)) => write!(f, "no such key `{name}`; test with has()"),
            Self::NoSuchKey(None) => f.write_str("no such key; test with `in`"),
            Self::Undeclared(Some(name)) => write!(f, "`{name}` does not exist"),
            Self::Undeclared(None) => f.write_str("a name does not exist"),
            Self::Types(text) => f.write_str(text),
            Self::Arithmetic => f.write_str("division by zero or overflow"),
            Self::Index => f.write_str("the list has no such element"),
            Self::Function(name) => write!(f, "{name}() refused its argument"),
            Self::TooLong => {
                write!(f, "a list or map has more than {} elements", meter::MAX_ELEMENTS)
            }
            Self::TooDeep => {
                write!(f, "a value is nested more than {} levels deep", meter::MAX_VALUE_DEPTH)
            }
            Self::TooMuchWork => f.write_str("the chain handles too much data for one event"),
            Self::NotJson => f.write_str("the value has no form in JSON"),
            Self::NotABoolean => f.write_str("`when` must give true or false"),
            Self::NotAChannel => f.write_str("the text is not a channel name"),
            Self::Panicked => f.write_str("the expression cannot be evaluated; simplify it"),
            Self::NoThread => f.write_str("the system gave no thread to evaluate on"),
            Self::Other => f.write_str("the expression failed"),
        }
    }
}

fn explain(errors: &ParseErrors) -> Vec<String> {
    let explain = |error: &cel::ParseError| {
        if error.msg.contains("Recursion limit") {
            return format!("nests more than {MAX_NESTING} levels deep; simplify it");
        }
        let (line, column) = error.pos;
        let message: String = error.msg.chars().take(200).collect();
        format!("is not CEL (line {line}, column {column}): {message}")
    };
    errors.errors.iter().take(MAX_PARSE_FAULTS).map(explain).collect()
}

#[cfg(test)]
mod tests;
