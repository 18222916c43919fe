//! The evaluations of a run as a table.

use crate::train::metrics::StepMetrics;

/// The most rows; of more evaluations some are left out.
const MOST: usize = 20;

/// A row for each evaluation, or for some of them, the first and the last among these.
pub fn table(lines: &[StepMetrics]) -> String {
    let shown = |k: usize| k * (lines.len() - 1) / (MOST - 1);
    let lines: Vec<&StepMetrics> = match lines.len() > MOST {
        true => (0..MOST).filter_map(|k| lines.get(shown(k))).collect(),
        false => lines.iter().collect(),
    };
    let with_epsilon = lines.iter().any(|line| line.epsilon.is_some());
    let mut rows: Vec<Vec<String>> = Vec::new();
    for (line, valid) in lines.iter().filter_map(|line| Some((line, line.valid.as_ref()?))) {
        let figures = valid.figures();
        if rows.is_empty() {
            let head = ["step", "epoch"].into_iter().chain(with_epsilon.then_some("ε"));
            rows.push(head.chain(figures.iter().map(|figure| figure.title)).map(str::to_owned).collect());
        }
        let mut row = vec![line.step.to_string(), format!("{:.1}", line.epoch)];
        if with_epsilon {
            row.push(line.epsilon.map_or(String::new(), |epsilon| format!("{epsilon:.3}")));
        }
        // The measures are the same in every evaluation, but for those that labels leave undefined.
        row.extend(figures.iter().map(|figure| figure.number()));
        rows.push(row);
    }
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:>width$}")).collect();
        format!("  {}\n", cells.join("  "))
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::evaluate::{Evaluation, Measures};

    fn line(step: u64, epsilon: Option<f64>) -> StepMetrics {
        let measures = Measures { macro_f1: Some(0.5), ..Measures::default() };
        let valid = Evaluation {
            records: 8,
            loss: 1.25,
            accuracy: Some(0.75),
            measures,
            nonfinite_records: 0,
            terms: vec![],
            labels: Some(8),
        };
        let epoch = step as f64 / 10.0;
        StepMetrics {
            step,
            epoch,
            epsilon,
            noise_multiplier: None,
            clip_bounds: vec![],
            learning_rate: None,
            lr_for: Default::default(),
            steps_per_second: None,
            samples_per_second: 1.0,
            valid: Some(valid),
            estimates: None,
            not_private: None,
        }
    }

    #[test]
    fn columns_are_aligned() {
        let expected = [
            "  step  epoch      ε    loss  accuracy  macro F1\n",
            "     5    0.5  0.100  1.2500   75.00 %    0.5000\n",
            "    10    1.0  0.200  1.2500   75.00 %    0.5000\n",
        ];
        assert_eq!(table(&[line(5, Some(0.1)), line(10, Some(0.2))]), expected.concat());
    }

    #[test]
    fn long_tables_keep_their_ends() {
        let lines: Vec<StepMetrics> = (1..=1000).map(|step| line(step, None)).collect();
        let text = table(&lines);
        let steps: Vec<&str> = text.lines().skip(1).filter_map(|line| line.split_whitespace().next()).collect();
        assert_eq!((steps.len(), steps[0], steps[19]), (20, "1", "1000"));
        assert!(!text.contains('ε'));
    }
}
