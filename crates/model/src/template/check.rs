//! What is refused before a template runs.
//!
//! Templates come from strangers, and compiling one takes time and stack as well: the engine
//! works out constants such as `'x' * 1000000000`, and goes down into expressions recursively.

use super::budget::ENTRY;
use super::compile::{SPACE, is_reserved};
use super::wrong;
use minijinja::machinery::ast::{BinOpKind, Call, CallArg, Expr, ForLoop, Macro, Stmt};
use minijinja::machinery::{Span, Token, tokenize};
use minijinja::value::{Value, ValueKind};
use sprat_task::{Error, Result};
use std::collections::BTreeSet;

/// How deeply brackets are nested inside of one tag, and how many signs may follow each other.
const BRACKETS: usize = 64;
/// How many times one tag says `else`, and how many times a template says `elif`.
const ELSES: usize = 1_000;
/// How deeply statements and expressions are nested; a sum is as deep as it has terms.
const DEPTH: usize = 256;
/// How many arguments a macro has: the engine makes a list of their names each time it is asked.
const ARGUMENTS: usize = 24;
/// How many attributes a template sets on namespaces: the engine goes through them to find out
/// whether a namespace is empty.
pub(super) const ATTRIBUTES: usize = 64;
/// How many bytes texts and lists may have that a template repeats and the compiler works out.
const REPEATED: usize = 1 << 20;

/// The function that a `{% generation %}` block calls.
pub(super) const ANSWER: &str = "__answer";

/// Refuses a source that the parser would go down into too deeply.
pub(super) fn check_nesting(source: &str) -> Result<()> {
    let (mut open, mut signs, mut elses, mut elifs) = (0_usize, 0, 0, 0);
    // What is no token is for the parser to say.
    for (token, span) in tokenize(source, false, Default::default(), SPACE).map_while(Result::ok) {
        signs = match token {
            Token::Minus | Token::Ident("not") => signs + 1,
            _ => 0,
        };
        match token {
            Token::VariableStart | Token::BlockStart => (open, elses) = (0, 0),
            Token::ParenOpen | Token::BracketOpen | Token::BraceOpen => open += 1,
            Token::ParenClose | Token::BracketClose | Token::BraceClose => {
                open = open.saturating_sub(1);
            }
            Token::Ident("else") => elses += 1,
            Token::Ident("elif") => elifs += 1,
            _ => {}
        }
        if open > BRACKETS || signs > BRACKETS || elses > ELSES || elifs > ELSES {
            return Err(refused("it is nested too deeply", span));
        }
    }
    Ok(())
}

/// Refuses what cannot be bounded when the template runs.
pub(super) fn check(tree: &Stmt<'_>) -> Result<()> {
    let mut check = Check { repeated: 0, attributes: BTreeSet::new() };
    check.statement(tree, Place { depth: 0, looping: false })
}

fn refused(why: impl Into<String>, span: Span) -> Error {
    let error = wrong("the chat template does what is not supported").why(why);
    error.line(u64::from(span.start_line))
}

/// Where a statement stands.
#[derive(Clone, Copy)]
struct Place {
    depth: usize,
    /// Whether `break` and `continue` leave nothing open behind.
    looping: bool,
}

struct Check<'source> {
    /// The bytes of all repeated constants.
    repeated: usize,
    /// The attributes that are set on namespaces.
    attributes: BTreeSet<&'source str>,
}

impl<'source> Check<'source> {
    fn statement(&mut self, statement: &Stmt<'source>, place: Place) -> Result<()> {
        let inside = Place { depth: place.depth + 1, looping: false };
        let same = Place { depth: place.depth + 1, ..place };
        let depth = inside.depth;
        match statement {
            Stmt::Template(template) => self.statements(&template.children, inside),
            Stmt::EmitExpr(emit) => self.expression(&emit.expr, depth),
            Stmt::EmitRaw(_) => Ok(()),
            Stmt::ForLoop(for_loop) => self.for_loop(for_loop, same),
            Stmt::IfCond(branch) => {
                self.expression(&branch.expr, depth)?;
                self.statements(&branch.true_body, same)?;
                // A chain of `elif` is limited by its tokens.
                match branch.false_body.as_slice() {
                    [Stmt::IfCond(_)] => self.statements(&branch.false_body, place),
                    other => self.statements(other, same),
                }
            }
            Stmt::WithBlock(block) => {
                for (name, value) in &block.assignments {
                    self.expression(name, depth)?;
                    self.expression(value, depth)?;
                }
                self.statements(&block.body, inside)
            }
            Stmt::Set(set) => {
                self.assigned(&set.target, depth)?;
                self.expression(&set.expr, depth)
            }
            Stmt::SetBlock(set) => {
                self.assigned(&set.target, depth)?;
                set.filter.iter().try_for_each(|filter| self.expression(filter, depth))?;
                self.statements(&set.body, inside)
            }
            Stmt::AutoEscape(block) => {
                self.expression(&block.enabled, depth)?;
                self.statements(&block.body, inside)
            }
            Stmt::FilterBlock(block) => {
                self.expression(&block.filter, depth)?;
                self.statements(&block.body, inside)
            }
            Stmt::Block(block) if block.required => {
                Err(refused("it has a required block", block.span()))
            }
            Stmt::Block(block) => self.statements(&block.body, inside),
            Stmt::Import(import) => {
                self.expression(&import.expr, depth)?;
                self.expression(&import.name, depth)
            }
            Stmt::FromImport(import) => {
                for (name, alias) in &import.names {
                    self.expression(name, depth)?;
                    alias.iter().try_for_each(|alias| self.expression(alias, depth))?;
                }
                self.expression(&import.expr, depth)
            }
            Stmt::Extends(extends) => self.expression(&extends.name, depth),
            Stmt::Include(include) => self.expression(&include.name, depth),
            Stmt::Macro(one) => {
                self.name(one.name, one.span())?;
                self.macro_body(one, one.span(), inside)
            }
            Stmt::CallBlock(block) => {
                let answer = matches!(&block.call.expr, Expr::Var(name) if name.id == ANSWER);
                if !answer {
                    self.call(&block.call, block.call.span(), depth)?;
                }
                self.macro_body(&block.macro_decl, block.macro_decl.span(), inside)
            }
            Stmt::Continue(one) if !place.looping => Err(unlooped("continue", one.span())),
            Stmt::Break(one) if !place.looping => Err(unlooped("break", one.span())),
            Stmt::Continue(_) | Stmt::Break(_) => Ok(()),
            Stmt::Do(one) => self.call(&one.call, one.call.span(), depth),
        }
    }

    fn statements(&mut self, statements: &[Stmt<'source>], place: Place) -> Result<()> {
        statements.iter().try_for_each(|statement| self.statement(statement, place))
    }

    fn for_loop(&mut self, one: &ForLoop<'source>, place: Place) -> Result<()> {
        self.expression(&one.target, place.depth)?;
        self.expression(&one.iter, place.depth)?;
        one.filter_expr.iter().try_for_each(|filter| self.expression(filter, place.depth))?;
        self.statements(&one.body, Place { looping: true, ..place })?;
        self.statements(&one.else_body, place)
    }

    fn macro_body(&mut self, one: &Macro<'source>, span: Span, place: Place) -> Result<()> {
        if one.args.len() > ARGUMENTS {
            return Err(refused(format!("a macro has more than {ARGUMENTS} arguments"), span));
        }
        let expressions = one.args.iter().chain(&one.defaults);
        expressions.into_iter().try_for_each(|one| self.expression(one, place.depth))?;
        self.statements(&one.body, place)
    }

    /// What is assigned to.
    fn assigned(&mut self, target: &Expr<'source>, depth: usize) -> Result<()> {
        match target {
            Expr::GetAttr(attribute) => {
                self.attributes.insert(attribute.name);
                if self.attributes.len() > ATTRIBUTES {
                    let why = format!("it sets more than {ATTRIBUTES} attributes");
                    return Err(refused(why, attribute.span()));
                }
            }
            Expr::List(list) => {
                list.items.iter().try_for_each(|item| self.assigned(item, depth + 1))?;
            }
            _ => {}
        }
        self.expression(target, depth)
    }

    fn expression(&mut self, expression: &Expr<'source>, depth: usize) -> Result<()> {
        if depth > DEPTH {
            return Err(refused("it is nested too deeply", expression.span()));
        }
        let depth = depth + 1;
        match expression {
            Expr::Var(name) => self.name(name.id, name.span()),
            Expr::Const(_) => Ok(()),
            Expr::Slice(slice) => {
                let bounds = [&slice.start, &slice.stop, &slice.step].into_iter().flatten();
                bounds.into_iter().try_for_each(|bound| self.expression(bound, depth))?;
                self.expression(&slice.expr, depth)
            }
            Expr::UnaryOp(one) => self.expression(&one.expr, depth),
            Expr::BinOp(one) => {
                self.expression(&one.left, depth)?;
                self.expression(&one.right, depth)?;
                match one.op {
                    BinOpKind::Mul => self.repeat(&one.left, &one.right),
                    _ => Ok(()),
                }
            }
            Expr::Compare(one) => {
                self.expression(&one.expr, depth)?;
                one.ops.iter().try_for_each(|op| self.expression(&op.expr, depth))
            }
            Expr::IfExpr(one) => {
                self.expression(&one.test_expr, depth)?;
                self.expression(&one.true_expr, depth)?;
                one.false_expr.iter().try_for_each(|other| self.expression(other, depth))
            }
            Expr::Filter(one) => {
                one.expr.iter().try_for_each(|value| self.expression(value, depth))?;
                self.arguments(&one.args, one.span(), depth)
            }
            Expr::Test(one) => {
                self.expression(&one.expr, depth)?;
                self.arguments(&one.args, one.span(), depth)
            }
            Expr::GetAttr(one) => self.expression(&one.expr, depth),
            Expr::GetItem(one) => {
                self.expression(&one.expr, depth)?;
                self.expression(&one.subscript_expr, depth)
            }
            Expr::Call(call) => self.call(call, call.span(), depth),
            Expr::List(list) => list.items.iter().try_for_each(|item| self.expression(item, depth)),
            Expr::Map(map) => {
                let all = map.keys.iter().chain(&map.values);
                all.into_iter().try_for_each(|one| self.expression(one, depth))
            }
        }
    }

    fn call(&mut self, call: &Call<'source>, span: Span, depth: usize) -> Result<()> {
        // Methods of the engine's own loops: one compares values at no cost, the other panics
        // without arguments.
        if let Expr::GetAttr(method) = &call.expr
            && (method.name == "changed" || (method.name == "cycle" && call.args.is_empty()))
        {
            return Err(refused(format!("`{}` is not supported", method.name), span));
        }
        self.expression(&call.expr, depth)?;
        self.arguments(&call.args, span, depth)
    }

    fn arguments(&mut self, all: &[CallArg<'source>], span: Span, depth: usize) -> Result<()> {
        all.iter().try_for_each(|argument| match argument {
            CallArg::Pos(value) | CallArg::Kwarg(_, value) => self.expression(value, depth),
            CallArg::PosSplat(_) | CallArg::KwargSplat(_) => {
                Err(refused("arguments with `*` are not supported", span))
            }
        })
    }

    /// A name that a template reads or gives.
    fn name(&self, name: &str, span: Span) -> Result<()> {
        match is_reserved(name) {
            true => Err(refused(format!("`{name}` begins like a name of the engine"), span)),
            false => Ok(()),
        }
    }

    /// A product, which the compiler works out where both sides are constants. Both sides were
    /// checked before, so that working them out is cheap.
    fn repeat(&mut self, left: &Expr<'source>, right: &Expr<'source>) -> Result<()> {
        let (Some(one), Some(other)) = (left.as_const(), right.as_const()) else { return Ok(()) };
        let length = repeated(&one, &other).or_else(|| repeated(&other, &one)).unwrap_or(0);
        self.repeated = self.repeated.saturating_add(length);
        match self.repeated > REPEATED {
            true => Err(refused("it repeats a constant too often", right.span())),
            false => Ok(()),
        }
    }
}

/// The bytes of a constant that is repeated; none where it is none that can be.
fn repeated(value: &Value, times: &Value) -> Option<usize> {
    let length = match value.kind() {
        ValueKind::String => value.as_str()?.len(),
        ValueKind::Seq | ValueKind::Iterable => value.len()?.saturating_mul(ENTRY),
        _ => return None,
    };
    Some(length.saturating_mul(times.as_usize()?))
}

fn unlooped(what: &str, span: Span) -> Error {
    refused(format!("`{what}` leaves a block inside of a loop, or stands in none"), span)
}
