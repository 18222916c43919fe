//! Which tensors of a run hold a NaN or an infinity: such parameters are never stored nor handed out.

use crate::tensors::{Tensor, Tensors};

/// What is not finite among the `trained` ones of `parameters` and among the optimizer's `states`, by `PARAMETER/STATE`,
/// in words. What is not trained may well hold infinities: a mask does.
pub fn nonfinite(trained: &[String], parameters: &Tensors, states: &Tensors) -> Vec<String> {
    let wrong = |(name, tensor): (&String, &Tensor)| {
        tensor.data.iter().any(|number| !number.is_finite()).then(|| name.to_owned())
    };
    let of_states = states.iter().filter_map(wrong).map(|name| match name.rsplit_once('/') {
        Some((parameter, kind)) => state(parameter, kind),
        None => parameter(&name),
    });
    let parameters = parameters.iter().filter(|(name, _)| trained.contains(name));
    parameters.filter_map(wrong).map(|name| parameter(&name)).chain(of_states).collect()
}

/// A parameter in words.
pub fn parameter(name: &str) -> String {
    format!("`{name}`")
}

/// An optimizer state in words.
pub fn state(parameter: &str, state: &str) -> String {
    format!("{state} of `{parameter}`")
}

/// The first few of many, and how many there are beside them.
pub fn list(names: &[String]) -> String {
    const MOST: usize = 6;
    let shown = names[..names.len().min(MOST)].join(", ");
    match names.len().saturating_sub(MOST) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_finite_is_named() {
        let tensor = |data: &[f32]| Tensor { dims: vec![data.len()], data: data.to_vec() };
        let named = |name: &str, data: &[f32]| (name.to_owned(), tensor(data));
        let mask = named("mask", &[0.0, f32::NEG_INFINITY]);
        let parameters = Tensors::from([named("a", &[1.0, f32::MAX]), named("b", &[0.0, f32::NAN]), mask]);
        let trained = ["a", "b"].map(str::to_owned);
        let states = Tensors::from([named("x/b/momentum", &[f32::NEG_INFINITY]), named("a/exp_avg", &[0.0])]);
        assert_eq!(nonfinite(&trained, &parameters, &states), ["`b`", "momentum of `x/b`"]);
        let many: Vec<String> = (0..8).map(|n| n.to_string()).collect();
        assert_eq!(list(&many), "0, 1, 2, 3, 4, 5 and 2 more");
        assert_eq!(list(&many[..2]), "0, 1");
    }
}
