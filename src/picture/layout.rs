//! Places for the boxes of an acyclic graph: layers from top to bottom, and few crossings.
//!
//! After Sugiyama et al. 1981: a box stands a layer below the last of those that it follows; an edge over several layers gets
//! a place in each; the order within a layer follows the mean place of the neighbours, in sweeps up and down; then each layer
//! moves as near to its neighbours as the boxes' widths allow.

/// Room between boxes of a layer, and between layers.
const GAP: f64 = 24.0;
const RISE: f64 = 34.0;

/// Sweeps of ordering and of placing.
const SWEEPS: usize = 8;

/// The size of a box.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Size {
    pub width: f64,
    pub height: f64,
}

/// The middle of a box, or a point of an edge.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Point {
    pub x: f64,
    pub y: f64,
}

/// Where everything is.
#[derive(Clone, Debug, Default)]
pub struct Layout {
    /// The middle of each box.
    pub boxes: Vec<Point>,
    /// The points of each edge, from the middle of its first box to that of its last.
    pub edges: Vec<Vec<Point>>,
    pub size: Option<Size>,
}

/// Lays out boxes of these sizes; an edge goes from a box to a later one, and others are left without points.
pub fn layout(sizes: &[Size], edges: &[(usize, usize)]) -> Layout {
    let ranks = ranks(sizes.len(), edges);
    let mut grid = Grid::new(sizes, &ranks, edges);
    grid.order();
    grid.place();
    grid.finish(sizes)
}

fn forward(edges: &[(usize, usize)]) -> impl Iterator<Item = (usize, usize)> {
    edges.iter().copied().filter(|(from, to)| from < to)
}

/// The layer of each box: below all that it follows, and what follows nothing just above its first reader.
fn ranks(boxes: usize, edges: &[(usize, usize)]) -> Vec<usize> {
    let mut ranks = vec![0; boxes];
    let mut sorted: Vec<(usize, usize)> = forward(edges).collect();
    sorted.sort_unstable();
    for &(from, to) in &sorted {
        ranks[to] = ranks[to].max(ranks[from] + 1);
    }
    let mut first_reader: Vec<Option<usize>> = vec![None; boxes];
    let mut follows = vec![false; boxes];
    for &(from, to) in &sorted {
        follows[to] = true;
        first_reader[from] = Some(first_reader[from].map_or(ranks[to], |first| first.min(ranks[to])));
    }
    for at in (0..boxes).filter(|&at| !follows[at]) {
        ranks[at] = first_reader[at].map_or(0, |first| first.saturating_sub(1));
    }
    ranks
}

/// Boxes and the places of edges that pass by, in layers.
struct Grid {
    layers: Vec<Vec<usize>>,
    widths: Vec<f64>,
    above: Vec<Vec<usize>>,
    below: Vec<Vec<usize>>,
    x: Vec<f64>,
    /// The cells of each edge.
    routes: Vec<Vec<usize>>,
}

impl Grid {
    fn new(sizes: &[Size], ranks: &[usize], edges: &[(usize, usize)]) -> Grid {
        let layers = ranks.iter().max().map_or(0, |last| last + 1);
        let mut grid = Grid {
            layers: vec![Vec::new(); layers],
            widths: sizes.iter().map(|size| size.width).collect(),
            above: vec![Vec::new(); sizes.len()],
            below: vec![Vec::new(); sizes.len()],
            x: Vec::new(),
            routes: Vec::new(),
        };
        (0..sizes.len()).for_each(|at| grid.layers[ranks[at]].push(at));
        for &(from, to) in edges {
            if from >= to {
                grid.routes.push(Vec::new());
                continue;
            }
            let mut route = vec![from];
            for layer in ranks[from] + 1..ranks[to] {
                let cell = grid.widths.len();
                grid.widths.push(0.0);
                grid.above.push(Vec::new());
                grid.below.push(Vec::new());
                grid.layers[layer].push(cell);
                route.push(cell);
            }
            route.push(to);
            for pair in route.windows(2) {
                grid.below[pair[0]].push(pair[1]);
                grid.above[pair[1]].push(pair[0]);
            }
            grid.routes.push(route);
        }
        grid
    }

    /// Orders each layer by the mean position of its neighbours in the one before, down and up.
    fn order(&mut self) {
        let mut position = vec![0.0; self.widths.len()];
        let number = |layer: &[usize], position: &mut [f64]| {
            layer.iter().enumerate().for_each(|(at, &cell)| position[cell] = at as f64);
        };
        self.layers.iter().for_each(|layer| number(layer, &mut position));
        for sweep in 0..SWEEPS {
            let down = sweep % 2 == 0;
            let neighbours = if down { &self.above } else { &self.below };
            let mut visit = |layer: &mut Vec<usize>| {
                let mut keyed: Vec<(f64, usize)> =
                    layer.iter().map(|&cell| (mean(&neighbours[cell], &position, position[cell]), cell)).collect();
                keyed.sort_by(|a, b| a.0.total_cmp(&b.0));
                *layer = keyed.into_iter().map(|(_, cell)| cell).collect();
                number(layer, &mut position);
            };
            match down {
                true => self.layers.iter_mut().for_each(&mut visit),
                false => self.layers.iter_mut().rev().for_each(&mut visit),
            }
        }
    }

    /// Gives each cell its place: side by side, then as near to the neighbours as the others of its layer let it.
    fn place(&mut self) {
        self.x = vec![0.0; self.widths.len()];
        for layer in &self.layers {
            let wanted = vec![0.0; layer.len()];
            apart(layer, &self.widths, &wanted, &mut self.x);
        }
        for sweep in 0..2 * SWEEPS {
            let down = sweep % 2 == 0;
            let neighbours = if down { &self.above } else { &self.below };
            let x = &mut self.x;
            let mut visit = |layer: &Vec<usize>| {
                let wanted: Vec<f64> = layer.iter().map(|&cell| mean(&neighbours[cell], x, x[cell])).collect();
                apart(layer, &self.widths, &wanted, x);
            };
            match down {
                true => self.layers.iter().for_each(&mut visit),
                false => self.layers.iter().rev().for_each(&mut visit),
            }
        }
    }

    fn finish(&self, sizes: &[Size]) -> Layout {
        let mut y = vec![0.0; self.widths.len()];
        let mut top = 0.0;
        for layer in &self.layers {
            let tallest = layer.iter().filter_map(|&cell| sizes.get(cell)).map(|size| size.height).fold(0.0, f64::max);
            layer.iter().for_each(|&cell| y[cell] = top + tallest / 2.0);
            top += tallest + RISE;
        }
        let edge = |sign: f64| (0..y.len()).map(move |cell| self.x[cell] + sign * self.widths[cell] / 2.0);
        let (left, right) = (edge(-1.0).fold(f64::MAX, f64::min), edge(1.0).fold(f64::MIN, f64::max));
        let point = |cell: usize| Point { x: self.x[cell] - left, y: y[cell] };
        Layout {
            boxes: (0..sizes.len()).map(point).collect(),
            edges: self.routes.iter().map(|route| route.iter().map(|&cell| point(cell)).collect()).collect(),
            size: (!sizes.is_empty()).then_some(Size { width: right - left, height: top - RISE }),
        }
    }
}

fn mean(cells: &[usize], of: &[f64], otherwise: f64) -> f64 {
    match cells.len() {
        0 => otherwise,
        count => cells.iter().map(|&cell| of[cell]).sum::<f64>() / count as f64,
    }
}

/// Puts the cells of a layer, in their order, as near to where they are `wanted` as they can be without touching: the least
/// sum of squares, by pooling neighbours that would touch.
fn apart(layer: &[usize], widths: &[f64], wanted: &[f64], x: &mut [f64]) {
    // Each cell's place counted from where it would be if all stood as tight as they may.
    let mut offset = Vec::with_capacity(layer.len());
    let mut at = 0.0;
    for (k, &cell) in layer.iter().enumerate() {
        if k > 0 {
            at += (widths[layer[k - 1]] + widths[cell]) / 2.0 + GAP;
        }
        offset.push(at);
    }
    // Runs of cells that stand tight: their mean wish, and how many they are.
    let mut runs: Vec<(f64, usize)> = Vec::new();
    for (wish, offset) in wanted.iter().zip(&offset) {
        let mut run = (wish - offset, 1);
        while let Some(&(before, count)) = runs.last().filter(|(before, _)| *before > run.0) {
            runs.pop();
            run = ((before * count as f64 + run.0 * run.1 as f64) / (count + run.1) as f64, count + run.1);
        }
        runs.push(run);
    }
    let starts = runs.iter().flat_map(|&(start, count)| std::iter::repeat_n(start, count));
    for ((&cell, offset), start) in layer.iter().zip(&offset).zip(starts) {
        x[cell] = start + offset;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOX: Size = Size { width: 100.0, height: 40.0 };

    #[test]
    fn a_chain_stands_straight_below_itself() {
        let found = layout(&[BOX; 4], &[(0, 1), (1, 2), (2, 3)]);
        assert!(found.boxes.iter().all(|place| place.x == 50.0), "{found:?}");
        assert!(found.boxes.windows(2).all(|pair| pair[1].y - pair[0].y == BOX.height + RISE), "{found:?}");
        assert_eq!(found.size, Some(Size { width: 100.0, height: 4.0 * 40.0 + 3.0 * RISE }));
    }

    #[test]
    fn no_boxes_touch_and_edges_go_down() {
        // A ladder of skips and branches, whose boxes have several widths.
        let sizes: Vec<Size> = (0..60).map(|k| Size { width: 40.0 + (k % 7) as f64 * 20.0, height: 40.0 }).collect();
        let edges: Vec<(usize, usize)> =
            (0..60).flat_map(|k| [(k, k + 1), (k, k + 2), (k / 2, k + 5)]).filter(|&(_, to)| to < 60).collect();
        let found = layout(&sizes, &edges);
        for (a, left) in found.boxes.iter().enumerate() {
            for (b, right) in found.boxes.iter().enumerate().skip(a + 1) {
                let room = (sizes[a].width + sizes[b].width) / 2.0 + GAP - 1e-6;
                assert!(left.y != right.y || (left.x - right.x).abs() >= room, "{a} and {b}: {left:?} {right:?}");
            }
        }
        assert!(found.edges.iter().flat_map(|route| route.windows(2)).all(|pair| pair[0].y < pair[1].y));
    }

    #[test]
    fn nothing_is_laid_out_as_nothing_and_a_cycle_is_left_out() {
        assert!(layout(&[], &[]).size.is_none());
        let found = layout(&[BOX; 2], &[(0, 1), (1, 0)]);
        assert_eq!((found.edges[0].len(), found.edges[1].len()), (2, 0));
    }
}
