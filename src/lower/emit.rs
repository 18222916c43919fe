//! The WGSL emitter: specialises the templates of `shaders/`.
//!
//! Templates are valid WGSL as they stand. Specialising one replaces the value of a `const NAME: T = …;` line, or the
//! text between a `// begin NAME` and a `// end NAME` line; nothing else about a template can change.

use std::fmt::Display;

/// A template being specialised.
#[derive(Clone, Debug)]
pub struct Specialise {
    text: String,
}

impl Specialise {
    /// Starts from the text of a template.
    pub fn new(template: &str) -> Specialise {
        Specialise { text: template.into() }
    }

    /// The specialised text.
    pub fn finish(self) -> String {
        self.text
    }

    /// Sets the value of `const name: T = …;`.
    pub fn constant(&mut self, name: &str, value: impl Display) {
        let head = format!("const {name}:");
        self.text = lines(&self.text, |line| {
            line.trim_start().starts_with(&head).then(|| {
                let declaration = line.split_once('=').map_or(line, |(d, _)| d).trim_end();
                format!("{declaration} = {value};")
            })
        });
    }

    /// Replaces what stands between `// begin name` and `// end name`.
    pub fn block(&mut self, name: &str, text: &str) {
        let (begin, end) = (format!("// begin {name}"), format!("// end {name}"));
        let mut inside = false;
        let mut out = String::new();
        for line in self.text.lines() {
            if line.trim() == end {
                inside = false;
            }
            if !inside {
                out.push_str(line);
                out.push('\n');
            }
            if line.trim() == begin {
                inside = true;
                out.push_str(text.trim_end());
                out.push('\n');
            }
        }
        self.text = out;
    }
}

fn lines(text: &str, f: impl Fn(&str) -> Option<String>) -> String {
    text.lines().map(|line| f(line).unwrap_or_else(|| line.into()) + "\n").collect()
}
