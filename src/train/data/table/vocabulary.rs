//! Vocabularies that are taken from the data: all values that a column has, in order.

use std::collections::{BTreeMap, BTreeSet};

use super::super::error::DataError;
use super::mapping::How;
use super::missing::is_missing;
use super::wanted::Wanted;
use super::{Cells, Interned, Numbers, Table, Want};

/// Adds the vocabularies that are taken from the data.
pub fn fit(
    table: &mut dyn Table,
    wanted: &[Wanted<'_>],
    fitted: &mut BTreeMap<String, Vec<String>>,
) -> Result<(), DataError> {
    let columns: BTreeSet<usize> = wanted
        .iter()
        .flat_map(|wanted| &wanted.parts)
        .filter(|(column, how)| *how == How::Sorted && !fitted.contains_key(&table.columns()[*column]))
        .map(|(column, _)| *column)
        .collect();
    let known = |column: usize| Some((table.columns()[column].clone(), table.vocabulary(column)?.to_vec()));
    fitted.extend(columns.iter().filter_map(|&column| known(column)));
    let columns: Vec<usize> = columns.into_iter().filter(|&column| table.vocabulary(column).is_none()).collect();
    if columns.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = columns.iter().map(|column| table.columns()[*column].clone()).collect();
    let wants: Vec<(usize, Want<'_>)> = columns.into_iter().map(|column| (column, Want::Texts)).collect();
    let mut pools = vec![Vec::new(); wants.len()];
    // What is wrong with rows is told when they are read again.
    table.read(&wants, &mut vec![], &mut |part| {
        for (cells, pool) in part.cells.iter().zip(&mut pools) {
            let texts = texts(cells);
            pool.extend_from_slice(&texts.pool[pool.len()..]);
        }
        Ok(())
    })?;
    fitted.extend(names.into_iter().zip(pools).map(|(name, pool)| (name, sorted(pool))));
    Ok(())
}

/// All values that a column has, sorted: numbers by size, where all are numbers.
fn sorted(pool: Vec<String>) -> Vec<String> {
    let mut names: Vec<String> = pool.into_iter().filter(|text| !is_missing(text)).collect();
    names.sort();
    let numbers: Option<Vec<f64>> = names.iter().map(|name| name.parse().ok()).collect();
    if numbers.is_some() {
        let number = |name: &String| name.parse::<f64>().expect("all are numbers");
        names.sort_by(|a, b| number(a).total_cmp(&number(b)));
    }
    names
}

/// The text of each record, or of what stands for it where it is missing, as its number in the texts that are had.
pub fn texts(cells: &Cells) -> &Interned {
    match &cells.values {
        Numbers::Texts(texts) => texts,
        _ => unreachable!("texts were asked for"),
    }
}
