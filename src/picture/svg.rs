//! Boxes with text, lines between them, and a list, as SVG.

use std::fmt::Write;

use super::layout::{Layout, Point, Size};

/// Pixels that a character is wide, and a line high.
const CHARACTER: f64 = 7.0;
const LINE: f64 = 16.0;
/// Within a box, and around everything.
const PADDING: f64 = 8.0;
const MARGIN: f64 = 24.0;
/// The most characters of a name in a box, and of a line of a reason.
const NAME: usize = 34;
const WIDE: usize = 110;

const STYLE: &str = "text { font: 12px ui-monospace, Menlo, Consolas, monospace; fill: #1b1f24 }
.title { font-weight: bold } .small { fill: #57606a } .mark { fill: #fff; font-weight: bold }
rect { fill: #f6f8fa; stroke: #8c959f } .interface rect { fill: #ddf4ff; stroke: #0969da }
.mixes rect { fill: #ffebe9; stroke: #cf222e; stroke-width: 2 } .refused rect { fill: #fff1e5; stroke: #bc4c00; stroke-width: 2 }
.backward rect { fill: #f6f0ff; stroke: #8250df } .norm rect { fill: #fff8c5; stroke: #9a6700 }
.clip rect { fill: #ffebe9; stroke: #cf222e; stroke-width: 2 } .sum rect { fill: #dafbe1; stroke: #1a7f37 }
.mixes circle { fill: #cf222e } .refused circle { fill: #bc4c00 }
path { fill: none; stroke: #8c959f } .head { fill: #8c959f; stroke: none }";

/// How a box or a reason is marked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    Plain,
    /// An input or output.
    Interface,
    /// Lets records meet.
    Mixes,
    /// Refused for another reason.
    Refused,
    /// On the way back from the loss.
    Backward,
    /// Norms of records' gradients.
    Norm,
    /// What records' gradients are scaled by.
    Clip,
    /// Where records meet.
    Sum,
}

impl Tone {
    fn class(self) -> &'static str {
        match self {
            Tone::Plain => "plain",
            Tone::Interface => "interface",
            Tone::Mixes => "mixes",
            Tone::Refused => "refused",
            Tone::Backward => "backward",
            Tone::Norm => "norm",
            Tone::Clip => "clip",
            Tone::Sum => "sum",
        }
    }
}

/// What stands in a box.
#[derive(Clone, Debug)]
pub struct Shape {
    pub title: String,
    pub name: String,
    pub axes: String,
    pub tone: Tone,
    /// The numbers of the reasons that it is refused for.
    pub marks: Vec<usize>,
}

impl Shape {
    fn lines(&self) -> Vec<(&'static str, String)> {
        let lines = [("title", short(&self.title)), ("small", short(&self.name)), ("small", short(&self.axes))];
        lines.into_iter().filter(|(_, text)| !text.is_empty()).collect()
    }
}

/// The size of a box that holds its text.
pub fn size(shape: &Shape) -> Size {
    let lines = shape.lines();
    let longest = lines.iter().map(|(_, text)| text.chars().count()).max().unwrap_or_default();
    Size { width: longest as f64 * CHARACTER + 2.0 * PADDING, height: lines.len() as f64 * LINE + 2.0 * PADDING }
}

/// The whole file: boxes and edges by `layout`, and the reasons below.
pub fn text(layout: &Layout, shapes: &[Shape], edges: &[(usize, usize, String)], reasons: &[(Tone, String)]) -> String {
    let drawn = layout.size.unwrap_or(Size { width: 0.0, height: 0.0 });
    let reasons: Vec<(Tone, Vec<String>)> = reasons.iter().map(|(tone, reason)| (*tone, wrapped(reason))).collect();
    let longest = reasons.iter().flat_map(|(_, lines)| lines).map(|line| line.chars().count()).max().unwrap_or(0);
    let listed: f64 = reasons.iter().map(|(_, lines)| lines.len() as f64 * LINE + PADDING).sum();
    let width = drawn.width.max(longest as f64 * CHARACTER + 3.0 * MARGIN) + 2.0 * MARGIN;
    let height = drawn.height + listed + 3.0 * MARGIN;
    let mut body = String::new();
    for (route, (from, to, label)) in layout.edges.iter().zip(edges) {
        edge(&mut body, route, [&shapes[*from], &shapes[*to]], label);
    }
    for (at, (shape, place)) in shapes.iter().zip(&layout.boxes).enumerate() {
        draw_box(&mut body, shape, *place, size(&shapes[at]));
    }
    let mut y = drawn.height + MARGIN;
    for (number, (tone, lines)) in (1..).zip(&reasons) {
        let _ = write!(body, "<g class=\"{}\">", tone.class());
        mark(&mut body, Point { x: 9.0, y: y - 4.0 }, number);
        for line in lines {
            let _ = write!(body, "<text x=\"{MARGIN}\" y=\"{y:.0}\">{}</text>", escaped(line));
            y += LINE;
        }
        body.push_str("</g>\n");
        y += PADDING;
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" viewBox=\"{} {} {width:.0} {height:.0}\">\n\
         <style>{STYLE}</style>\n<rect x=\"{}\" y=\"{}\" width=\"{width:.0}\" height=\"{height:.0}\" style=\"fill: #fff; stroke: none\"/>\n{body}</svg>\n",
        -MARGIN, -MARGIN, -MARGIN, -MARGIN
    )
}

fn draw_box(body: &mut String, shape: &Shape, place: Point, size: Size) {
    let (left, top) = (place.x - size.width / 2.0, place.y - size.height / 2.0);
    let corner = if shape.tone == Tone::Interface { size.height / 2.0 } else { 4.0 };
    let _ = write!(
        body,
        "<g class=\"{}\"><title>{} {} {}</title><rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"{corner}\"/>",
        shape.tone.class(),
        escaped(&shape.title),
        escaped(&shape.name),
        escaped(&shape.axes),
        size.width,
        size.height
    );
    for (k, (class, line)) in shape.lines().iter().enumerate() {
        let y = top + PADDING + (k as f64 + 0.78) * LINE;
        let _ = write!(
            body,
            "<text class=\"{class}\" x=\"{:.1}\" y=\"{y:.1}\" text-anchor=\"middle\">{}</text>",
            place.x,
            escaped(line)
        );
    }
    for (k, number) in shape.marks.iter().enumerate() {
        mark(body, Point { x: left + 22.0 * k as f64, y: top }, *number);
    }
    body.push_str("</g>\n");
}

/// A number in a disc.
fn mark(body: &mut String, at: Point, number: usize) {
    let _ = write!(
        body,
        "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"10\"/><text class=\"mark\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{number}</text>",
        at.x,
        at.y,
        at.x,
        at.y + 4.0
    );
}

/// A line through the points of a route, from the lower edge of its first box to the upper edge of its last.
fn edge(body: &mut String, route: &[Point], ends: [&Shape; 2], label: &str) {
    let (&[first, ..], &[.., last]) = (route, route) else { return };
    let mut points = route.to_vec();
    let (end, tip) = (points.len() - 1, last.y - size(ends[1]).height / 2.0);
    points[0].y = first.y + size(ends[0]).height / 2.0;
    points[end].y = tip - 5.0;
    let mut path = format!("M{:.1} {:.1}", points[0].x, points[0].y);
    for pair in points.windows(2) {
        let middle = (pair[0].y + pair[1].y) / 2.0;
        let _ = write!(
            path,
            " C{:.1} {middle:.1} {:.1} {middle:.1} {:.1} {:.1}",
            pair[0].x, pair[1].x, pair[1].x, pair[1].y
        );
    }
    let _ = writeln!(
        body,
        "<path d=\"{path}\"><title>{}</title></path><path class=\"head\" d=\"M{:.1} {:.1}l-3.5 -6h7z\"/>",
        escaped(label),
        last.x,
        tip
    );
}

/// The end of a long name says more than its beginning.
fn short(text: &str) -> String {
    let count = text.chars().count();
    if count <= NAME {
        text.to_owned()
    } else {
        text.chars().skip(count - NAME + 1).fold("…".to_owned(), |s, c| s + &c.to_string())
    }
}

fn wrapped(text: &str) -> Vec<String> {
    text.lines().flat_map(wrapped_line).collect()
}

fn wrapped_line(text: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().map(|line| line.chars().count()).unwrap_or_default();
        match lines.last_mut() {
            Some(last) if line == 0 => *last = word.to_owned(),
            Some(last) if line + word.chars().count() < WIDE => {
                last.push(' ');
                last.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// Text as it may stand in XML 1.0, which holds no control characters.
fn escaped(text: &str) -> String {
    let one = |c: char| match c {
        '&' => "&amp;".to_owned(),
        '<' => "&lt;".to_owned(),
        '>' => "&gt;".to_owned(),
        '"' => "&quot;".to_owned(),
        c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => "\u{fffd}".to_owned(),
        c => c.to_string(),
    };
    text.chars().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_file_names_cannot_break_out_of_the_text() {
        assert_eq!(escaped("a<b>&\"\u{0}\n"), "a&lt;b&gt;&amp;&quot;\u{fffd}\u{fffd}");
    }

    #[test]
    fn long_text_is_cut_and_wrapped() {
        assert_eq!(short("/encoder/layers/0/attention/self/query/MatMul").chars().count(), NAME);
        let lines = wrapped(&"word ".repeat(60));
        assert!(lines.len() == 3 && lines.iter().all(|line| line.len() <= WIDE), "{lines:?}");
    }
}
