//! The table of parameters, as `dpc inspect` prints it.

use std::fmt;

use super::{Parameter, Parameters};

impl fmt::Display for Parameters {
    /// One line for each float initialiser (name, shape, elements, whether it is trained, why), then the totals.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows: Vec<[String; 5]> = self.iter().map(row).collect();
        let header = ["parameter", "shape", "elements", "trained", "why"].map(str::to_owned);
        let width = |column: usize| {
            rows.iter().chain([&header]).map(|row| row[column].chars().count()).max().unwrap_or_default()
        };
        let [name, shape, count, trained] = [0, 1, 2, 3].map(width);
        for row in [&header].into_iter().chain(&rows) {
            writeln!(f, "{:name$}  {:shape$}  {:>count$}  {:trained$}  {}", row[0], row[1], row[2], row[3], row[4])?;
        }
        let total =
            |parameters: &mut dyn Iterator<Item = &Parameter>| -> usize { parameters.map(Parameter::count).sum() };
        write!(
            f,
            "{} of {} elements are trained, in {} of {} float initialisers",
            total(&mut self.trainable()),
            total(&mut self.iter()),
            self.trainable().count(),
            self.len()
        )?;
        match self.from_torch {
            true => write!(f, "; exporters do not write requires_grad=False: keep such parameters with --freeze NAME"),
            false => Ok(()),
        }
    }
}

fn row(parameter: &Parameter) -> [String; 5] {
    [
        parameter.name.clone(),
        format!("{:?}", parameter.dims),
        parameter.count().to_string(),
        if parameter.trainable { "yes" } else { "no" }.to_owned(),
        parameter.reason.clone(),
    ]
}
