//! What the library says to those at a command line, in the words of the page: its options are fields here.

/// What to do about problems that are other ones in a page, by their codes.
const HELP: &[(&str, &str)] = &[
    ("dpc::device::lost", "reload the page: the run goes on from its last checkpoint, and the ledger is whole"),
    (
        "dpc::device::no_adapter",
        "browsers have no GPU where its driver is old or switched off; the processor does the same work",
    ),
    ("dpc::device::out_of_memory", "compute on the processor, which has the memory of this computer, up to 4 GB"),
    ("dpc::device::refused", "compute on the processor; this is a defect of dpc, of the browser or of the driver"),
    ("dpc::device::slow", "compute on the processor"),
    ("dpc::train::batch", "give fewer “Records in a batch, on average”"),
];

/// The page's fields and buttons for the options of the command line.
const FIELDS: &[(&str, &str)] = &[
    ("--batch", "“Records in a batch, on average”"),
    ("--clip", "“Bound on what a record adds”"),
    ("--columns", "“Columns”"),
    ("--data", "“To train on”"),
    ("--delta", "“δ”"),
    ("--epochs", "“Passes over the data”"),
    ("--epsilon", "“ε, at most”"),
    ("--loss", "“Loss”"),
    ("--lr", "“Learning rate”"),
    ("--missing", "“Missing values”"),
    ("--optimizer", "“Optimizer”"),
    ("--resume", "“Go on”"),
    ("--valid", "“To validate on”"),
];

/// What is said after advice that the page has no field for.
const ELSEWHERE: &str = " (this is for dpc’s command line, whose M.dpc this page takes)";

/// The page's advice on a problem of this code, of which the library gives `help`.
pub fn help(code: Option<&str>, help: &str) -> String {
    let own = HELP.iter().find(|(known, _)| code == Some(known));
    own.map_or_else(|| advice(help), |(_, help)| (*help).to_owned())
}

/// A text of the library in the page's words; one that takes options which the page has not stays as it is, and says so.
pub fn advice(text: &str) -> String {
    let said = message(text);
    match said.contains("--") || said.contains("`dpc ") {
        true => format!("{text}{ELSEWHERE}"),
        false => said,
    }
}

/// A text of the library with the page's fields for options.
pub fn message(text: &str) -> String {
    let (mut out, mut rest) = (String::new(), text);
    while let Some(at) = rest.find("--") {
        let (before, from) = rest.split_at(at);
        let end = from[2..].find(|c: char| !c.is_ascii_lowercase() && c != '-').map_or(from.len(), |end| end + 2);
        let (option, after) = from.split_at(end);
        let field = FIELDS.iter().find(|(known, _)| *known == option).map_or(option, |(_, field)| field);
        out.extend([before, field]);
        rest = after;
    }
    out.push_str(rest);
    // What is typed stands between backticks, and fields between their quotes.
    FIELDS.iter().fold(out, |out, (_, field)| out.replace(&format!("`{field}`"), field))
}
