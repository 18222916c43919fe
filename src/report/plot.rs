//! A line chart as SVG, with axes, units and a text alternative.

use std::fmt::Write;

use super::axis::{Axis, number};
use super::html::escape;
use super::thin::thin;

/// The size of a chart in its own units; the page scales it.
const SIZE: (f64, f64) = (480.0, 270.0);
/// Right, top and bottom of the field within.
const FIELD: (f64, f64, f64) = (468.0, 16.0, 222.0);
/// Room at the left for the unit and the gaps, and for each character of the labels in the largest type that they are written in.
const MARGIN: (f64, f64) = (28.0, 8.6);
/// Colours that colour-blind people can tell apart (Okabe and Ito 2008), and dashes for print.
const STYLES: [(&str, &str); 6] = [
    ("#0072b2", "none"),
    ("#d55e00", "7 3"),
    ("#007a5a", "2 3"),
    ("#a8457f", "9 3 2 3"),
    ("#8a6d00", "4 2"),
    ("#333333", "12 4"),
];
/// Curves of fewer points have a mark at each.
const MARKED: usize = 40;

/// A curve with its name.
#[derive(Clone, Debug, PartialEq)]
pub struct Curve {
    pub name: String,
    /// Which of the styles it has, so that a run looks the same in all charts.
    pub style: usize,
    /// By growing x.
    pub points: Vec<(f64, f64)>,
}

/// A chart over the steps of runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Plot {
    /// Unique on the page.
    pub id: String,
    pub title: String,
    /// What is upwards, with its unit.
    pub unit: String,
    pub curves: Vec<Curve>,
    /// Whether the vertical axis begins at 0.
    pub from_zero: bool,
}

impl Plot {
    /// The chart; none where there is nothing to be drawn.
    pub fn svg(&self) -> Option<String> {
        let finite = |points: &[(f64, f64)]| points.iter().copied().filter(|(_, y)| y.is_finite()).collect::<Vec<_>>();
        let curves: Vec<(&Curve, Vec<(f64, f64)>)> = self
            .curves
            .iter()
            .map(|curve| (curve, finite(&curve.points)))
            .filter(|(_, points)| !points.is_empty())
            .collect();
        let all = || curves.iter().flat_map(|(_, points)| points);
        let last = all().map(|(x, _)| *x).fold(f64::NEG_INFINITY, f64::max);
        let range = |from: f64, value: f64| (from.min(value), from.max(value));
        let mut heights = all().map(|(_, y)| *y);
        let first = heights.next()?;
        let (low, high) = heights.fold((first, first), |(low, high), y| (low.min(y), high.max(y)));
        let (low, high) = if self.from_zero { (range(0.0, low).0, range(0.0, high).1) } else { (low, high) };
        let (across, up) = (Axis::new(0.0, last, 5, false), Axis::new(low, high, 4, true));
        let longest = up.ticks.iter().map(|(_, label)| label.chars().count()).max().unwrap_or(0).max(4);
        let left = MARGIN.0 + MARGIN.1 * longest as f64;
        let (right, top, bottom) = FIELD;
        let x = |value: f64| left + across.place(value) * (right - left);
        let y = |value: f64| bottom - up.place(value) * (bottom - top);

        let id = escape(&self.id);
        let mut svg = format!(
            "<svg viewBox=\"0 0 {} {}\" role=\"img\" aria-labelledby=\"{id}-title {id}-desc\">\n\
             <title id=\"{id}-title\">{}</title>\n<desc id=\"{id}-desc\">{}</desc>\n",
            SIZE.0,
            SIZE.1,
            escape(&self.title),
            escape(&self.words(&curves)),
        );
        for (value, label) in &up.ticks {
            let at = y(*value);
            let _ = writeln!(
                svg,
                "<line class=\"grid\" x1=\"{left:.1}\" x2=\"{right}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
                left - 6.0,
                at + 4.0
            );
        }
        for (value, label) in &across.ticks {
            let at = x(*value);
            let _ = writeln!(
                svg,
                "<line class=\"axis\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{bottom}\" y2=\"{:.1}\"/>\
                 <text x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{label}</text>",
                bottom + 5.0,
                bottom + 19.0
            );
        }
        let _ = writeln!(
            svg,
            "<path class=\"axis\" d=\"M{left:.1} {top}V{bottom}H{right}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">logical steps</text>\
             <text transform=\"translate(14 {:.1}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
            (left + right) / 2.0,
            SIZE.1 - 10.0,
            (top + bottom) / 2.0,
            escape(&self.unit)
        );
        for (curve, points) in &curves {
            let (colour, dashes) = STYLES[curve.style % STYLES.len()];
            let points = thin(points);
            let place = |&(px, py): &(f64, f64)| format!("{:.1} {:.1}", x(px), y(py));
            let path: Vec<String> = points.iter().map(place).collect();
            let _ = writeln!(
                svg,
                "<path class=\"curve\" stroke=\"{colour}\" stroke-dasharray=\"{dashes}\" d=\"M{}\"/>",
                path.join("L")
            );
            if points.len() < MARKED {
                for &(px, py) in &points {
                    let _ =
                        writeln!(svg, "<circle fill=\"{colour}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"2.5\"/>", x(px), y(py));
                }
            }
        }
        svg.push_str("</svg>");
        Some(svg)
    }

    /// The chart with its title, and which curve is which where there are several.
    pub fn figure(&self) -> Option<String> {
        let svg = self.svg()?;
        let mut legend = String::new();
        if self.curves.len() > 1 {
            let drawn = self.curves.iter().filter(|curve| curve.points.iter().any(|(_, y)| y.is_finite()));
            for curve in drawn {
                let (colour, dashes) = STYLES[curve.style % STYLES.len()];
                let _ = write!(
                    legend,
                    "<li><svg class=\"key\" viewBox=\"0 0 30 8\" aria-hidden=\"true\"><path class=\"curve\" stroke=\"{colour}\" \
                     stroke-dasharray=\"{dashes}\" d=\"M0 4H30\"/></svg>{}</li>",
                    escape(&curve.name)
                );
            }
            legend = format!("<ul class=\"legend\">{legend}</ul>");
        }
        Some(format!("<figure>\n<figcaption>{}{legend}</figcaption>\n{svg}\n</figure>\n", escape(&self.title)))
    }

    /// The curves in words.
    fn words(&self, curves: &[(&Curve, Vec<(f64, f64)>)]) -> String {
        let mut text = format!("{} ({}) over logical steps.", self.title, self.unit);
        for (curve, points) in curves {
            let ([first, ..], [.., last]) = (&points[..], &points[..]) else { continue };
            let by_height = |a: &&(f64, f64), b: &&(f64, f64)| a.1.total_cmp(&b.1);
            let extreme = |of: Option<&(f64, f64)>| {
                of.map_or(String::new(), |(x, y)| format!("{} at step {}", number(*y), number(*x)))
            };
            let _ = write!(
                text,
                " {}: from {} at step {} to {} at step {}; lowest {}, highest {}.",
                curve.name,
                number(first.1),
                number(first.0),
                number(last.1),
                number(last.0),
                extreme(points.iter().min_by(by_height)),
                extreme(points.iter().max_by(by_height)),
            );
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plot(curves: &[&[(f64, f64)]]) -> Plot {
        let curve = |(k, points): (usize, &&[(f64, f64)])| Curve {
            name: format!("<run {k}>"),
            style: k,
            points: points.to_vec(),
        };
        Plot {
            id: "p".to_owned(),
            title: "ε & more".to_owned(),
            unit: "ε".to_owned(),
            curves: curves.iter().enumerate().map(curve).collect(),
            from_zero: true,
        }
    }

    #[test]
    fn a_chart_lies_in_its_field_and_says_what_it_shows() {
        let svg = plot(&[&[(1.0, 0.5), (100.0, 2.0)], &[(50.0, f64::NAN), (60.0, 1.0)]]).svg().unwrap();
        assert!(svg.contains("<title id=\"p-title\">ε &amp; more</title>"), "{svg}");
        assert!(
            svg.contains("&lt;run 0&gt;: from 0.5000 at step 1 to 2 at step 100; lowest 0.5000 at step 1"),
            "{svg}"
        );
        // The largest value is at the top, at the right end.
        assert!(svg.contains("L468.0 16.0\"/>"), "{svg}");
        assert!(!svg.contains("NaN") && svg.matches("<path class=\"curve\"").count() == 2, "{svg}");
    }

    #[test]
    fn nothing_to_draw_is_no_chart() {
        assert_eq!(plot(&[&[(1.0, f64::NAN)], &[]]).figure(), None);
        // One point is a mark.
        assert!(plot(&[&[(0.0, 0.0)]]).svg().unwrap().contains("<circle"));
    }
}
