//! The turns of [Loop](https://onnx.ai/onnx/operators/onnx__Loop.html) and
//! [Scan](https://onnx.ai/onnx/operators/onnx__Scan.html), one after the other.

use super::{Flat, MOST_NODES, Scope, integer, operator};
use crate::onnx::node::OnnxNode;
use crate::onnx::proto::{GraphProto, NodeProto};

impl Flat<'_> {
    /// Writes the turns of a loop one after the other.
    pub(super) fn turns(
        &mut self,
        node: &NodeProto,
        body: &GraphProto,
        scope: &Scope,
        place: &str,
    ) -> Option<Vec<String>> {
        let limit = node.input.first().filter(|name| !name.is_empty());
        let count = match limit {
            Some(name) => self.known.get(name)?.first().copied()?,
            None => MOST_NODES as i64,
        };
        let count = usize::try_from(count).ok().filter(|&count| count > 0 && count <= MOST_NODES)?;
        let goes_on = node.input.get(1).filter(|name| !name.is_empty());
        if let Some(name) = goes_on
            && self.known.get(name)? != &[1]
        {
            return None;
        }
        let mut ended = limit.is_some();
        let mut carried: Vec<String> = node.input.get(2..).unwrap_or_default().to_vec();
        let mut scanned: Vec<Vec<String>> = vec![Vec::new(); body.output.len().checked_sub(1 + carried.len())?];
        if body.input.len() != 2 + carried.len() {
            return None;
        }
        for turn in 0..count {
            let mut within = scope.within(format!("{place}[{turn}]"));
            let number = self.constant(&format!("{place}[{turn}]/turn"), turn as i64, false);
            let condition = match goes_on {
                Some(name) => name.clone(),
                None => self.constant(&format!("{place}[{turn}]/condition"), 1, true),
            };
            let values = [number, condition.clone()].into_iter().chain(carried.iter().cloned());
            within.names.extend(body.input.iter().map(|input| input.name().to_owned()).zip(values));
            let mut results = self.graph(body, within)?.into_iter();
            let stops = results.next()?;
            let stops = stops != condition && self.known.get(&stops)? == &[0];
            carried.iter_mut().for_each(|value| *value = results.next().unwrap_or_default());
            scanned.iter_mut().zip(results).for_each(|(all, value)| all.push(value));
            if self.nodes.len() > MOST_NODES {
                return None;
            }
            if stops {
                ended = true;
                break;
            }
        }
        if !ended {
            return None;
        }
        let stacked = scanned.iter().enumerate().map(|(k, parts)| self.stack(&format!("{place}/scan{k}"), parts, 0));
        let stacked: Vec<String> = stacked.collect();
        Some(carried.into_iter().chain(stacked).collect())
    }

    /// Writes the turns of a scan: the elements of its inputs along an axis, one after the other.
    pub(super) fn scan(
        &mut self,
        node: &NodeProto,
        body: &GraphProto,
        scope: &Scope,
        place: &str,
    ) -> Option<Vec<String>> {
        let own = OnnxNode::from_proto(node, String::new());
        let scanned = usize::try_from(own.require_int("num_scan_inputs").ok()?).ok()?;
        let states = node.input.len().checked_sub(scanned)?;
        let results = body.output.len().checked_sub(states)?;
        let list = |name: &str, count: usize| Some(own.ints(name).ok()?.unwrap_or_else(|| vec![0; count]));
        let (axes, backwards) = (list("scan_input_axes", scanned)?, list("scan_input_directions", scanned)?);
        let (result_axes, turned) = (list("scan_output_axes", results)?, list("scan_output_directions", results)?);
        let lists = [(&axes, scanned), (&backwards, scanned), (&result_axes, results), (&turned, results)];
        if body.input.len() != node.input.len() || scanned == 0 || lists.iter().any(|(list, len)| list.len() != *len) {
            return None;
        }
        let sequences = node.input[states..].to_vec();
        let size = |sequence: &String, axis: i64| {
            let sizes = self.sizes.get(sequence)?;
            let axis = if axis < 0 { axis + sizes.len() as i64 } else { axis };
            *sizes.get(usize::try_from(axis).ok()?)?
        };
        let steps = sequences.iter().zip(&axes).find_map(|(sequence, &axis)| size(sequence, axis))?;
        let mut carried = node.input[..states].to_vec();
        let mut parts: Vec<Vec<String>> = vec![Vec::new(); results];
        for step in 0..steps {
            let mut within = scope.within(format!("{place}[{step}]"));
            let mut values = carried.clone();
            for (k, sequence) in sequences.iter().enumerate() {
                let at = if backwards[k] == 0 { step } else { steps - 1 - step };
                let at = self.constant(&format!("{place}[{step}]/at{k}"), at as i64, false);
                let (name, axis) = (format!("{place}[{step}]/element{k}"), integer("axis", axes[k]));
                let (named, input) = (Some(name.clone()), vec![sequence.clone(), at]);
                let output = vec![name.clone()];
                self.nodes.push(NodeProto { name: named, input, output, attribute: vec![axis], ..operator("Gather") });
                values.push(name);
            }
            within.names.extend(body.input.iter().map(|input| input.name().to_owned()).zip(values));
            let mut results = self.graph(body, within)?.into_iter();
            carried.iter_mut().for_each(|value| *value = results.next().unwrap_or_default());
            parts.iter_mut().zip(results).for_each(|(all, value)| all.push(value));
            if self.nodes.len() > MOST_NODES {
                return None;
            }
        }
        if steps == 0 {
            return None;
        }
        for (k, mut parts) in parts.into_iter().enumerate() {
            if turned[k] != 0 {
                parts.reverse();
            }
            carried.push(self.stack(&format!("{place}/scan{k}"), &parts, result_axes[k]));
        }
        Some(carried)
    }
}
