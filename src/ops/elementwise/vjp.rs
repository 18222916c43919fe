//! The backward pass of an expression, read off the table of scalar functions: one sweep back over its steps.

use super::Elementwise;
use crate::graph::{DType, NodeId};
use crate::lower::scalar::{Expr, Func, Step, Term, Value};
use crate::ops::{Backward, VjpError};

/// What a part of a derivative is worked out to.
#[derive(Clone, Copy)]
enum Part {
    /// No cotangent.
    Zero,
    /// A value of the graph.
    Node(NodeId),
    /// A constant.
    Const(Value),
}

/// The cotangents of the operands of `expr`, each reduced to its operand's type as soon as it is complete.
pub(super) fn vjp(expr: &Expr, bw: &mut Backward<'_>) -> Result<Vec<Option<NodeId>>, VjpError> {
    let steps = expr.steps();
    let needed = needed(expr, bw);
    let mut users = vec![0; steps.len()];
    arguments(steps).for_each(|(_, argument)| users[argument] += 1);
    let mut cotangents: Vec<Option<NodeId>> = vec![None; steps.len()];
    cotangents[steps.len() - 1] = Some(bw.cotangent());
    let mut out = vec![None; bw.arity()];
    if let [Step::Operand(k, _)] = steps
        && needed[0]
    {
        out[*k] = Some(bw.reduce_to_operand(*k, bw.cotangent())?);
    }
    for (i, step) in steps.iter().enumerate().rev() {
        let Step::Call(func, args) = *step else { continue };
        let cotangent = cotangents[i];
        for (j, &argument) in args[..func.arity()].iter().enumerate() {
            users[argument] -= 1;
            if !needed[argument] {
                continue;
            }
            if let Some(cotangent) = cotangent
                && let Part::Node(part) = emit(expr, i, cotangent, func.derivatives()[j], bw)?
            {
                cotangents[argument] = Some(match cotangents[argument] {
                    Some(sum) => bw.emit(Elementwise::call(Func::Add), &[sum, part])?,
                    None => part,
                });
            }
            if let (Step::Operand(k, _), 0, Some(whole)) = (steps[argument], users[argument], cotangents[argument]) {
                out[k] = Some(bw.reduce_to_operand(k, whole)?);
            }
        }
    }
    Ok(out)
}

/// The calls' arguments, each with its call.
fn arguments(steps: &[Step]) -> impl Iterator<Item = (usize, usize)> {
    steps.iter().enumerate().flat_map(|(i, step)| match *step {
        Step::Call(func, args) => args.into_iter().take(func.arity()).map(|a| (i, a)).collect(),
        _ => vec![],
    })
}

/// Which steps are floats that depend on an operand whose cotangent is wanted.
fn needed(expr: &Expr, bw: &Backward<'_>) -> Vec<bool> {
    let mut needed: Vec<bool> =
        expr.steps().iter().map(|step| matches!(*step, Step::Operand(k, DType::F32) if bw.needs(k))).collect();
    for (call, argument) in arguments(expr.steps()) {
        needed[call] |= needed[argument] && expr.step_type(call) == DType::F32;
    }
    needed
}

/// Appends a part of the derivative of step `i`, whose value has the cotangent `d`.
fn emit(expr: &Expr, i: usize, d: NodeId, term: Term, bw: &mut Backward<'_>) -> Result<Part, VjpError> {
    Ok(match term {
        Term::Zero => Part::Zero,
        Term::Cotangent => Part::Node(d),
        Term::Result => value(expr, i, bw)?,
        Term::Operand(k) => match expr.steps()[i] {
            Step::Call(_, args) => value(expr, args[k], bw)?,
            _ => Part::Zero,
        },
        Term::Const(c) => Part::Const(Value::F32(c)),
        Term::Call(func, terms) => {
            let (mut steps, mut nodes, mut args) = (Vec::new(), Vec::new(), [0; 3]);
            for ((&term, &dtype), arg) in terms.iter().zip(func.operands()).zip(&mut args) {
                *arg = steps.len();
                match emit(expr, i, d, term, bw)? {
                    Part::Node(node) => {
                        steps.push(Step::Operand(nodes.len(), dtype));
                        nodes.push(node);
                    }
                    Part::Const(c) => steps.push(Step::Const(c)),
                    Part::Zero => return Err(bw.not_differentiable()),
                }
            }
            steps.push(Step::Call(func, args));
            let expr = Expr::new(steps).map_err(|_| bw.not_differentiable())?;
            Part::Node(bw.emit(Elementwise { expr }, &nodes)?)
        }
    })
}

/// The value of a step; one that is no operand is worked out again.
fn value(expr: &Expr, i: usize, bw: &mut Backward<'_>) -> Result<Part, VjpError> {
    Ok(match expr.steps()[i] {
        _ if i + 1 == expr.steps().len() => Part::Node(bw.value()),
        Step::Operand(k, _) => Part::Node(bw.operand(k)),
        Step::Const(c) => Part::Const(c),
        Step::Call(..) => {
            let (expr, kept) = expr.part(i).compact();
            let nodes: Vec<NodeId> = kept.iter().map(|&k| bw.operand(k)).collect();
            Part::Node(bw.emit(Elementwise { expr }, &nodes)?)
        }
    })
}
