//! Compiling a template into instructions that are bounded.
//!
//! The engine bounds how many instructions a template runs, not what one of them takes: `+`, `~`
//! and `*` double a text each time, a list of lists is compared item by item. So the instructions
//! are rewritten: those that make or go through values of any size are replaced by a function
//! that takes its costs from the [budget](super::budget) first, or a function is called beside
//! them. Filters, tests, methods and functions are bounded where they are registered.

use super::check::{check, check_nesting};
use super::guards::{self, PREFIX};
use super::render::told;
use minijinja::machinery::{CodeGenerator, Instruction, Instructions, WhitespaceConfig, parse};
use minijinja::value::{Value, ValueKind};
use sprat_task::Result;
use std::collections::{BTreeMap, BTreeSet};

/// The name of a template in errors of the engine.
const NAME: &str = "chat_template";
/// How blocks take white space with them, as in `transformers`.
pub(super) const SPACE: WhitespaceConfig =
    WhitespaceConfig { keep_trailing_newline: false, lstrip_blocks: true, trim_blocks: true };
/// The longest constant, in bytes, and the longest list of constants, that is compared with
/// without taking any costs.
const SHORT: usize = 64;

/// The instructions of a template, and of its blocks by their names.
pub(super) struct Program<'source> {
    pub(super) root: Instructions<'source>,
    pub(super) blocks: BTreeMap<&'source str, Instructions<'source>>,
}

self_cell::self_cell!(
    /// A compiled template with its source, which the instructions borrow from.
    pub(super) struct Compiled {
        owner: String,
        #[covariant]
        dependent: Program,
    }
);

/// Compiles a template. Goes down into it recursively, so the stack must be large.
pub(super) fn compile(source: String) -> Result<Compiled> {
    Compiled::try_new(source, |source| {
        check_nesting(source)?;
        let tree = parse(source, NAME, Default::default(), SPACE).map_err(|why| told(&why))?;
        check(&tree)?;
        let mut generator = CodeGenerator::new(NAME, source);
        generator.compile_stmt(&tree);
        let (root, blocks) = generator.finish();
        let blocks = blocks.iter().map(|(name, block)| (*name, bounded(block)));
        Ok(Program { root: bounded(&root), blocks: blocks.collect() })
    })
}

/// Rewrites a list of instructions.
fn bounded<'source>(old: &Instructions<'source>) -> Instructions<'source> {
    let all = || (0..old.len() as u32).filter_map(|at| Some((at, old.get(at)?)));
    let targets: BTreeSet<u32> =
        all().filter_map(|(_, one)| target(&mut one.clone()).copied()).collect();
    let mut new = Instructions::new(old.name(), old.source());
    // Where each old instruction begins among the new ones; jumps may go behind the last.
    let mut places = Vec::with_capacity(old.len() + 1);
    for (at, instruction) in all() {
        places.push(new.len() as u32);
        let line = old.get_line(at).unwrap_or_default() as u16;
        // The constant that stands right before, whichever way the instruction is come to.
        let constant = match at.checked_sub(1).and_then(|before| old.get(before)) {
            Some(Instruction::LoadConst(value)) if !targets.contains(&at) => Some(value),
            _ => None,
        };
        rewrite(instruction, constant, &mut |instruction| {
            new.add_with_line(instruction, line);
        });
    }
    places.push(new.len() as u32);
    for at in 0..new.len() as u32 {
        if let Some(target) = new.get_mut(at).and_then(target)
            && let Some(place) = places.get(*target as usize)
        {
            *target = *place;
        }
    }
    new
}

/// Where an instruction points to, if it points to another one.
fn target<'a>(instruction: &'a mut Instruction<'_>) -> Option<&'a mut u32> {
    match instruction {
        Instruction::Jump(target)
        | Instruction::JumpIfFalse(target)
        | Instruction::JumpIfFalseOrPop(target)
        | Instruction::JumpIfTrueOrPop(target)
        | Instruction::Iterate(target)
        | Instruction::BuildMacro(_, target, _) => Some(target),
        _ => None,
    }
}

/// Writes what stands for one instruction.
fn rewrite<'source>(
    old: &Instruction<'source>,
    constant: Option<&Value>,
    add: &mut impl FnMut(Instruction<'source>),
) {
    let call = |name, arguments| Instruction::CallFunction(name, Some(arguments));
    let comparison = match old {
        Instruction::Eq => Some(guards::EQ),
        Instruction::Ne => Some(guards::NE),
        Instruction::Lt => Some(guards::LT),
        Instruction::Lte => Some(guards::LE),
        Instruction::Gt => Some(guards::GT),
        Instruction::Gte => Some(guards::GE),
        _ => None,
    };
    match old {
        // The formatter counts what is written, in a block that is kept as well.
        Instruction::EmitRaw(text) => {
            add(Instruction::LoadConst(Value::from(*text)));
            add(Instruction::Emit);
        }
        // Lists that the engine would make anew each time.
        Instruction::LoadConst(value) if value.kind() == ValueKind::Iterable => {
            let items: Vec<Value> = value.try_iter().into_iter().flatten().collect();
            add(Instruction::LoadConst(Value::from(items)));
        }
        Instruction::Add | Instruction::BuildList(_) => {
            add(old.clone());
            add(call(guards::WEIGH, 1));
        }
        Instruction::Mul => {
            add(call(guards::BEFORE_REPEAT, 2));
            add(Instruction::UnpackList(2));
            add(Instruction::Mul);
            add(call(guards::WEIGH, 1));
        }
        Instruction::CompareAndPreserve(_) => {
            add(call(guards::BEFORE_COMPARE, 2));
            add(Instruction::UnpackList(2));
            add(old.clone());
        }
        Instruction::SetAttr(_) => {
            add(call(guards::BEFORE_SET, 2));
            add(Instruction::UnpackList(2));
            add(old.clone());
        }
        Instruction::BuildMap(pairs) if *pairs > 0 => {
            add(Instruction::BuildList(Some(2 * pairs)));
            add(call(guards::MAP, 1));
            add(call(guards::WEIGH, 1));
        }
        Instruction::GetItem if !constant.is_some_and(is_short_text) => {
            add(call(guards::ITEM, 2));
        }
        Instruction::In if !constant.is_some_and(is_short_list) => add(call(guards::IN, 2)),
        Instruction::StringConcat => add(call(guards::CONCAT, 2)),
        Instruction::Slice => add(call(guards::SLICE, 4)),
        Instruction::PushLoop(_)
        | Instruction::FastRecurse
        | Instruction::CallFunction("loop", Some(1)) => {
            add(call(guards::ENTER, 1));
            add(old.clone());
        }
        Instruction::Include(_) | Instruction::LoadBlocks => {
            add(call(guards::READ, 1));
            add(old.clone());
        }
        _ => match comparison {
            Some(name) if !constant.is_some_and(is_short) => add(call(name, 2)),
            _ => add(old.clone()),
        },
    }
}

/// Whether nothing that is compared with a value takes long.
fn is_short(value: &Value) -> bool {
    match value.as_str() {
        Some(text) => text.len() <= SHORT,
        None => value.as_object().is_none(),
    }
}

fn is_short_text(value: &Value) -> bool {
    value.as_str().is_some() && is_short(value)
}

fn is_short_list(value: &Value) -> bool {
    let items = value.downcast_object_ref::<Vec<Value>>();
    items.is_some_and(|items| items.len() <= SHORT && items.iter().all(is_short))
}

/// Whether a name is kept for the functions that instructions call.
pub(super) fn is_reserved(name: &str) -> bool {
    name.starts_with(PREFIX)
}
