//! The cells of the books, and what holds for all of them.

use super::*;
use crate::lower::scalar::Step;

fn text(code: &Routine, names: &[&str]) -> Vec<String> {
    let mut texts: Vec<String> = Vec::new();
    for step in &code.steps {
        texts.push(match step {
            Step::Operand(k, _) => names[*k].to_string(),
            Step::Const(c) => c.to_string(),
            Step::Call(func, args) => {
                let args: Vec<&str> = args[..func.arity()].iter().map(|&a| texts[a].as_str()).collect();
                format!("{}({})", func.name(), args.join(", "))
            }
        });
    }
    code.outputs.iter().map(|o| o.map_or("nothing".to_string(), |o| texts[o].clone())).collect()
}

#[test]
fn the_lstm_is_the_one_of_the_books() {
    let lstm = Cell::from(Kind::Lstm);
    let forward = text(&lstm.forward(0), &["zi", "zo", "zf", "zg", "c'", "h'"]);
    assert_eq!(forward[..4], ["sigmoid(zi)", "sigmoid(zo)", "sigmoid(zf)", "tanh(zg)"]);
    assert_eq!(forward[4], "add(mul(sigmoid(zf), c'), mul(sigmoid(zi), tanh(zg)))");
    assert_eq!(forward[5], format!("mul(sigmoid(zo), tanh({}))", forward[4]));
    let backward = text(&lstm.backward(0), &["i", "o", "f", "g", "c", "h", "c'", "h'", "dc", "dh"]);
    let dc = "add(dc, tanh_vjp(tanh(c), mul(dh, o)))";
    assert_eq!(
        backward,
        [
            format!("sigmoid_vjp(i, mul({dc}, g))"),
            "sigmoid_vjp(o, mul(dh, tanh(c)))".to_string(),
            format!("sigmoid_vjp(f, mul({dc}, c'))"),
            format!("tanh_vjp(g, mul({dc}, i))"),
            format!("mul({dc}, f)"),
            "nothing".to_string(),
        ]
    );
    assert_eq!((lstm.reread(), lstm.carried()), (vec![0], vec![0]));
}

#[test]
fn a_gru_whose_reset_comes_first_has_two_stages() {
    let gru = Cell::from(Kind::Gru);
    assert_eq!((gru.stages(), gru.multiplied(0), gru.multiplied(1)), (vec![0..2, 2..3], 4, 2));
    assert_eq!((gru.made(0), gru.made(1)), (0..3, 3..5));
    let first = text(&gru.forward(0), &["zz", "zr", "zn", "h'"]);
    assert_eq!(first, ["sigmoid(zz)", "sigmoid(zr)", "mul(sigmoid(zr), h')"]);
    let second = text(&gru.forward(1), &["zz", "zr", "zn", "h'", "z", "r", "m"]);
    assert_eq!(second[0], "tanh(zn)");
    assert_eq!(second[1], "add(mul(sub(1.0, z), tanh(zn)), mul(z, h'))");
    let names = ["z", "r", "m", "n", "h", "h'", "dh", "dm"];
    let dn = "tanh_vjp(n, mul(dh, sub(1.0, z)))";
    assert_eq!(text(&gru.backward(1), &names), ["nothing", "nothing", dn, "nothing"]);
    let last = text(&gru.backward(0), &names);
    assert_eq!(last[1..], ["sigmoid_vjp(r, mul(dm, h'))", "nothing", "add(mul(dh, z), mul(dm, r))"]);
}

/// Every row, with its own activations and with others.
fn all() -> impl Iterator<Item = Cell> {
    let others =
        [Activation::Softplus, Activation::Elu { alpha: 0.5 }, Activation::HardSigmoid { alpha: 0.2, beta: 0.5 }];
    Kind::ALL.iter().flat_map(move |&kind| {
        [Cell::from(kind), Cell { activations: others, ..kind.into() }, Cell { clip: Some(0.5), ..kind.into() }]
    })
}

#[test]
fn every_cell_can_keep_what_it_carries() {
    for cell in all() {
        let stages = cell.stages();
        // The columns that carry it are written by the stage back that is made last.
        assert!(cell.carried().len() <= stages[0].len(), "{}", cell.name());
        assert_eq!(cell.plane(cell.states() - 1) + 1, cell.planes(), "{}", cell.name());
        let made: Vec<usize> = (0..stages.len()).flat_map(|stage| cell.made(stage)).collect();
        assert_eq!(made, (0..cell.planes()).collect::<Vec<_>>(), "{}", cell.name());
    }
}

#[test]
fn no_step_back_reads_a_column() {
    for cell in all() {
        for code in (0..cell.stages().len()).map(|stage| cell.backward(stage)) {
            let arguments = code.steps.iter().filter_map(|step| match step {
                Step::Call(func, args) => Some(&args[..func.arity()]),
                _ => None,
            });
            assert!(arguments.flatten().all(|arg| *arg < code.steps.len()), "{}", cell.name());
        }
    }
}
