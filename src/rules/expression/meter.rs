//! The meter: what an evaluation may cost.
//!
//! The interpreter cannot be interrupted, and it copies a list or map whenever one becomes part
//! of another: `event.data.list.map(x, event.data)` on 64 KiB can ask for gigabytes. So every
//! operand whose size the event decides passes through a function that charges for it.

use std::cell::Cell;

use cel::common::ast::{CallExpr, EntryExpr, Expr, IdedExpr};
use cel::common::types::{CelBytes, CelList, CelMap, CelString, DYN_TYPE};
use cel::common::value::{CowVal, Val};
use cel::{Env, ExecutionError};
use serde_json::Value;

use super::Problem;

/// The most elements of a list or map, in the event or made by an expression.
pub(super) const MAX_ELEMENTS: usize = 10_000;
/// How deep a value may be nested. A notification wraps it once more, and readers of JSON
/// usually stop at 128.
pub(super) const MAX_VALUE_DEPTH: usize = 120;
/// What one chain may handle for one event, in bytes: about what a second copies at worst.
const FUEL: usize = 32 * 1024 * 1024;
/// What a value costs beside its text: about its memory.
const VALUE_COST: usize = 32;
/// What matches() costs beside its text: the pattern is compiled anew for every call.
const PATTERN_COST: usize = 64 * 1024;

const METER: &str = "@meter";
const METER_PATTERN: &str = "@meter_pattern";

thread_local! {
    // A function of the language is a plain function pointer, so its state has no other place.
    static TANK: Cell<Tank> = const { Cell::new(Tank { fuel: FUEL, exceeded: None }) };
}

#[derive(Clone, Copy)]
struct Tank {
    fuel: usize,
    exceeded: Option<Exceeded>,
}

#[derive(Clone, Copy)]
enum Exceeded {
    Length,
    Depth,
    Work,
}

/// Fills the tank of this thread, for one chain and one event.
pub(in crate::rules) fn refuel() {
    TANK.set(Tank { fuel: FUEL, exceeded: None });
}

/// The bound that was exceeded since the last [`refuel`].
pub(super) fn exceeded() -> Option<Problem> {
    TANK.get().exceeded.map(|exceeded| match exceeded {
        Exceeded::Length => Problem::TooLong,
        Exceeded::Depth => Problem::TooDeep,
        Exceeded::Work => Problem::TooMuchWork,
    })
}

/// Charges for a copy of a JSON value that a run makes itself.
pub(in crate::rules) fn spend(value: &Value) -> Result<(), Problem> {
    let mut tank = TANK.get();
    let spent = burn(&mut tank.fuel, weight(value)).map_err(|_| Problem::TooMuchWork);
    TANK.set(tank);
    spent
}

fn weight(value: &Value) -> usize {
    let inside = match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(text) => text.len(),
        Value::Array(elements) => elements.iter().map(weight).sum(),
        Value::Object(members) => {
            members.iter().map(|(name, value)| VALUE_COST + name.len() + weight(value)).sum()
        }
    };
    VALUE_COST + inside
}

/// Adds the meter's functions. Their names cannot be written in a source.
pub(super) fn install(environment: &mut Env) {
    for (name, function) in
        [(METER, meter as cel::common::functions::Function), (METER_PATTERN, meter_pattern)]
    {
        environment
            .add_overload(name, name, vec![DYN_TYPE], function)
            .expect("no function of the language begins with an @");
    }
}

/// Puts the meter around every operand, element and result whose size the event decides.
pub(super) fn instrument(tree: &mut IdedExpr) {
    descend(tree);
    wrap(tree, METER);
}

fn descend(tree: &mut IdedExpr) {
    match &mut tree.expr {
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) | Expr::Struct(_) => {}
        Expr::Select(select) => descend(&mut select.operand),
        Expr::List(list) => list.elements.iter_mut().for_each(operand),
        Expr::Map(map) => {
            for entry in &mut map.entries {
                if let EntryExpr::MapEntry(entry) = &mut entry.expr {
                    operand(&mut entry.key);
                    operand(&mut entry.value);
                }
            }
        }
        Expr::Comprehension(comprehension) => {
            operand(&mut comprehension.iter_range);
            descend(&mut comprehension.loop_cond);
            descend(&mut comprehension.loop_step);
            descend(&mut comprehension.result);
        }
        Expr::Call(call) => {
            let CallExpr { func_name, target, args } = call;
            match func_name.as_str() {
                // These only look at a boolean, or hand on one of their operands.
                "_&&_" | "_||_" | "!_" | "_?_:_" | "@not_strictly_false" => {
                    args.iter_mut().for_each(descend);
                }
                "_[_]" => args.iter_mut().for_each(descend),
                "matches" => {
                    let text = target.as_deref_mut().or(args.first_mut());
                    text.into_iter().for_each(|text| {
                        descend(text);
                        wrap(text, METER_PATTERN);
                    });
                }
                _ => target.as_deref_mut().into_iter().chain(args).for_each(operand),
            }
        }
    }
}

fn operand(tree: &mut IdedExpr) {
    descend(tree);
    // A literal is as large as its source, the elements of a written list are metered one by
    // one, and the interpreter recognises the accumulator `@result + [x]` by its shape.
    let metered = match &tree.expr {
        Expr::Literal(_) | Expr::List(_) => false,
        Expr::Ident(name) => !name.starts_with('@'),
        _ => true,
    };
    if metered {
        wrap(tree, METER);
    }
}

fn wrap(tree: &mut IdedExpr, function: &str) {
    let inner = std::mem::take(tree);
    tree.id = inner.id;
    tree.expr =
        Expr::Call(CallExpr { func_name: function.to_owned(), target: None, args: vec![inner] });
}

fn meter<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    metered(args, 0)
}

fn meter_pattern<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    metered(args, PATTERN_COST)
}

fn metered<'b, 'v>(
    mut args: Vec<CowVal<'b, 'v>>,
    surcharge: usize,
) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let value = args.pop().ok_or_else(ExecutionError::missing_argument_or_target)?;
    let mut tank = TANK.get();
    let charged = match tank.exceeded {
        Some(exceeded) => Err(exceeded),
        None => burn(&mut tank.fuel, surcharge)
            .and_then(|()| charge(&mut tank.fuel, value.as_ref(), MAX_VALUE_DEPTH)),
    };
    tank.exceeded = charged.err();
    TANK.set(tank);
    match charged {
        Ok(()) => Ok(value),
        Err(_) => Err(ExecutionError::function_error(METER, "a bound is exceeded")),
    }
}

fn charge(fuel: &mut usize, value: &dyn Val, depth: usize) -> Result<(), Exceeded> {
    burn(fuel, VALUE_COST)?;
    let deeper = depth.checked_sub(1).ok_or(Exceeded::Depth)?;
    if let Some(text) = value.downcast_ref::<CelString>() {
        burn(fuel, text.inner().len())
    } else if let Some(bytes) = value.downcast_ref::<CelBytes>() {
        burn(fuel, bytes.inner().len())
    } else if let Some(list) = value.downcast_ref::<CelList>() {
        bounded(list.inner().len())?;
        list.inner().iter().try_for_each(|element| charge(fuel, element.as_ref(), deeper))
    } else if let Some(map) = value.downcast_ref::<CelMap>() {
        bounded(map.inner().len())?;
        map.inner().iter().try_for_each(|(key, value)| {
            charge(fuel, key.inner(), deeper)?;
            charge(fuel, value.as_ref(), deeper)
        })
    } else {
        Ok(())
    }
}

fn bounded(elements: usize) -> Result<(), Exceeded> {
    if elements > MAX_ELEMENTS { Err(Exceeded::Length) } else { Ok(()) }
}

fn burn(fuel: &mut usize, cost: usize) -> Result<(), Exceeded> {
    *fuel = fuel.checked_sub(cost).ok_or(Exceeded::Work)?;
    Ok(())
}
