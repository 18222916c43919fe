//! The page of `dpc report` in a real Chromium, on a wide and on a narrow screen and in print: nothing is cut off, no label lies on
//! another, every picture is drawn and has a text, and nothing is fetched.
//!
//! `DPC_CHROMIUM` names the program where it is not on the path. Where there is none, that is said, and nothing is tested.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::place::{Place, TINY};

const NAMES: [&str; 4] = ["chromium", "chromium-browser", "google-chrome", "chrome"];
/// Widths of a screen, of a phone's too.
const WIDTHS: [u32; 3] = [1280, 768, 375];
/// A browser that takes longer has been kept from its work.
const PATIENCE: Duration = Duration::from_secs(180);

/// What `probe.html` says.
#[derive(Deserialize)]
struct Told {
    wrong: Vec<String>,
    pictures: Vec<Pictures>,
}

#[derive(Deserialize)]
struct Pictures {
    width: u32,
    charts: usize,
    graphs: usize,
}

/// The browser, if there is one.
fn chromium() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("DPC_CHROMIUM") {
        return Some(named.into());
    }
    let folders: Vec<PathBuf> = std::env::split_paths(&std::env::var_os("PATH")?).collect();
    NAMES.iter().flat_map(|name| folders.iter().map(move |folder| folder.join(name))).find(|path| path.is_file())
}

/// Runs the browser in `place` without a screen or a network; returns its standard output.
fn browse(program: &Path, place: &Place, task: &[&str], page: &str) -> String {
    let output = place.path("browser.out");
    let mut child = Command::new(program)
        .current_dir(place.path("."))
        // A sandbox takes rights that a container may not have; the page is dpc's own.
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"])
        .args(["--no-first-run", "--disable-background-networking", "--host-resolver-rules=MAP * ~NOTFOUND"])
        .arg(format!("--user-data-dir={}", place.path("profile").display()))
        .args(task)
        .arg(format!("file://{}", place.path(page).display()))
        .stdin(Stdio::null())
        .stdout(std::fs::File::create(&output).expect("a file"))
        .stderr(Stdio::null())
        .spawn()
        .expect("the browser runs");
    let begun = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait().expect("a child") {
            break status;
        }
        if begun.elapsed() > PATIENCE {
            child.kill().expect("a child");
            panic!("{} {task:?} takes longer than {PATIENCE:?}", program.display());
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    assert!(status.success(), "{} {task:?}: {status}", program.display());
    std::fs::read_to_string(output).expect("text")
}

/// How `page` is laid out at each width.
fn laid_out(program: &Path, place: &Place, page: &str) -> Told {
    let page = std::fs::read_to_string(place.path(page)).expect("a page");
    let inner = page.replace('&', "&amp;").replace('"', "&quot;");
    let frames: String = WIDTHS
        .iter()
        .map(|width| format!("<iframe style=\"width: {width}px\" srcdoc=\"{inner}\"></iframe>\n"))
        .collect();
    let probe = include_str!("probe.html").replace("<!--FRAMES-->", &frames);
    std::fs::write(place.path("probe.html"), probe).expect("a file");
    let dom = browse(program, place, &["--dump-dom"], "probe.html");
    let told =
        dom.split("<pre id=\"told\">").nth(1).and_then(|rest| rest.split("</pre>").next()).expect("the probe speaks");
    let told = told.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
    serde_json::from_str(&told).expect("JSON")
}

/// The pictures of the page, of which nothing may be wrong: charts, and graphs of a layer.
fn is_laid_out_well(program: &Path, place: &Place, page: &str) -> (usize, usize) {
    let told = laid_out(program, place, page);
    assert_eq!(told.wrong, Vec::<String>::new(), "{page}");
    assert_eq!(told.pictures.iter().map(|of| of.width).collect::<Vec<_>>(), WIDTHS);
    let [(charts, graphs), ..] = told.pictures.iter().map(|of| (of.charts, of.graphs)).collect::<Vec<_>>()[..] else {
        panic!("no page");
    };
    assert!(told.pictures.iter().all(|of| (of.charts, of.graphs) == (charts, graphs)));
    (charts, graphs)
}

/// The width of a picture, and how many of its pixels are rather dark.
fn dark_pixels(path: &Path) -> (u32, usize) {
    let file = std::io::BufReader::new(std::fs::File::open(path).expect("a picture"));
    let mut reader = png::Decoder::new(file).read_info().expect("PNG");
    let mut pixels = vec![0; reader.output_buffer_size().expect("a size")];
    let info = reader.next_frame(&mut pixels).expect("pixels");
    let dark = pixels[..info.buffer_size()].chunks(info.color_type.samples()).filter(|pixel| pixel[1] < 128).count();
    (info.width, dark)
}

#[test]
fn reports_are_laid_out_by_a_browser() {
    let Some(program) = chromium() else {
        // The standard error of the process is shown where that of tests is not.
        let _ = writeln!(
            std::io::stderr(),
            "NOT RUN: there is no Chromium that could open the report; DPC_CHROMIUM names one"
        );
        return;
    };
    let place = Place::new();
    place.tiny();
    let valid = "--valid data.npz --valid-every 2 --record-private-metrics --lr-schedule cosine:warmup=3";
    place.ok(&format!("{TINY} --steps 30 {valid} --out run"));
    place.ok(&format!("{TINY} --steps 12 --valid data.npz --out a-run-with-a-rather-long-name-that-has-to-be-broken"));
    place.ok("report run -o one.html");
    place.ok("report run a-run-with-a-rather-long-name-that-has-to-be-broken -o two.html");

    let (charts, graphs) = is_laid_out_well(&program, &place, "one.html");
    assert!(charts >= 5 && graphs == 1, "{charts} charts and {graphs} graphs");
    let (charts, _) = is_laid_out_well(&program, &place, "two.html");
    assert!(charts >= 5, "{charts} charts");

    browse(&program, &place, &["--screenshot=one.png", "--window-size=1280,3000"], "one.html");
    let (width, dark) = dark_pixels(&place.path("one.png"));
    assert_eq!(width, 1280);
    assert!(dark > 10_000, "{dark} dark pixels");
    browse(&program, &place, &["--print-to-pdf=one.pdf", "--no-pdf-header-footer"], "one.html");
    assert!(std::fs::read(place.path("one.pdf")).expect("a file").starts_with(b"%PDF-"));
}

/// The probe finds what it is there to find.
#[test]
fn what_is_wrong_with_a_page_is_seen() {
    let Some(program) = chromium() else { return };
    let place = Place::new();
    let page = "<!DOCTYPE html><html lang=\"en\"><head><title>t</title></head><body><p style=\"width: 2000px\">wide</p><figure>\
        <svg width=\"300\" height=\"200\" aria-labelledby=\"a b\"><title id=\"a\">Chart</title><desc id=\"b\">words</desc>\
        <text x=\"20\" y=\"50\">first</text><text x=\"25\" y=\"52\">second</text><text x=\"290\" y=\"100\">outside</text></svg>\
        </figure><img src=\"absent.png\" alt=\"a graph\"></body></html>";
    std::fs::write(place.path("page.html"), page).expect("a file");
    let wrong = laid_out(&program, &place, "page.html").wrong.join("\n");
    for said in [
        "at 375 px: the page is",
        "Chart: the label outside is cut off",
        "Chart: the labels first and second lie on each other",
        "no picture, or no text for it: a graph",
        "absent.png would be fetched",
    ] {
        assert!(wrong.contains(said), "{said} in\n{wrong}");
    }
}
