//! The private graph of one layer, as a picture on the page.

use std::fmt::Write;

use super::html::escape;
use crate::artifact::{Artifact, Reopened};
use crate::compile::compile;
use crate::device::TARGETS;
use crate::picture::draw_largest_layer;

/// A picture of the layer of the largest parameter, with its name.
#[derive(Clone, Debug)]
pub struct Layer {
    name: String,
    svg: String,
}

impl Layer {
    /// That of `artifact`; `None` where nothing of it is trained, or this version of dpc compiles it no more.
    pub fn of(artifact: &Artifact) -> Option<Layer> {
        artifact.manifest.loss.as_ref()?;
        let Reopened { source, parameters, options } = artifact.reopened().ok()?;
        let compiled = compile(&source, &parameters, &options, TARGETS).ok()?;
        let (name, svg) = draw_largest_layer(&compiled.private)?;
        Some(Layer { name, svg })
    }

    /// Its section of the page. The picture stands by itself, so that its style is not that of the page.
    pub fn section(&self) -> String {
        let name = escape(&self.name);
        format!(
            "<section>\n<h2>The private graph of one layer</h2>\n<p>How the gradient of <code>{name}</code> is made private: the norms of each \
             record's own gradient (yellow) go into its clip factor (red), and only what is scaled by that is summed (green). \
             <code>dpc inspect --svg</code> draws all layers.</p>\n<div class=\"scroll\"><img class=\"graph\" alt=\"The norms, the clip factor and the \
             clipped sums of {name}\" src=\"data:image/svg+xml,{}\"></div>\n</section>\n",
            encoded(&self.svg)
        )
    }
}

/// Text in a URL (RFC 3986, 2.1).
fn encoded(text: &str) -> String {
    let mut url = String::new();
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => url.push(char::from(byte)),
            // Writing to a string does not fail.
            _ => drop(write!(url, "%{byte:02X}")),
        }
    }
    url
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_hold_what_they_may() {
        assert_eq!(encoded("<a b=\"é\">"), "%3Ca%20b%3D%22%C3%A9%22%3E");
    }
}
