//! What the targets share: limits on memory and on processor time, panics that dpc catches itself, files for what is
//! read from one, and mutations that keep checksums true.

use std::alloc::{GlobalAlloc, Layout, System};
use std::backtrace::Backtrace;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::{Cursor, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use libfuzzer_sys::fuzzer_mutate;
use sha2::{Digest, Sha256};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

/// The system's allocator, up to [`LIMIT`] bytes at any one time; libFuzzer's own limit is looked at once a second.
struct Limited;

const LIMIT: usize = 1 << 30;
static LIVE: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static ALLOCATOR: Limited = Limited;

impl Limited {
    fn take(size: usize) {
        let before = LIVE.fetch_add(size, Ordering::Relaxed);
        if before < LIMIT && before.saturating_add(size) >= LIMIT {
            eprintln!("{size} bytes more than {before}:\n{}", Backtrace::force_capture());
            std::process::abort();
        }
    }

    fn give(size: usize) {
        LIVE.fetch_sub(size, Ordering::Relaxed);
    }
}

// SAFETY: every call goes on to `System` with the arguments it came with.
unsafe impl GlobalAlloc for Limited {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::take(layout.size());
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        Self::take(layout.size());
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        Self::take(size);
        Self::give(layout.size());
        unsafe { System.realloc(pointer, layout, size) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        Self::give(layout.size());
        unsafe { System.dealloc(pointer, layout) }
    }
}

thread_local! {
    static PANIC: RefCell<Option<(String, Backtrace)>> = const { RefCell::new(None) };
}

/// The number of the input that runs.
static INPUT: AtomicU64 = AtomicU64::new(0);
/// Seconds of processor time that one input may take; libFuzzer's own limit is one of wall time.
const SECONDS: f64 = 20.0;

/// Replaces libFuzzer's panic hook, which would abort on panics that dpc catches, and watches the time.
pub fn install() {
    std::panic::set_hook(Box::new(|info| {
        PANIC.set(Some((info.to_string(), Backtrace::force_capture())));
    }));
    if processor_time().is_some() {
        std::thread::spawn(watch);
    }
}

fn watch() {
    let (mut input, mut since) = (0, 0.0);
    loop {
        std::thread::sleep(Duration::from_secs(1));
        let now = processor_time().unwrap_or(since);
        let running = INPUT.load(Ordering::Relaxed);
        if running != input {
            (input, since) = (running, now);
        } else if now - since > SECONDS {
            eprintln!("an input takes more than {SECONDS} seconds of processor time");
            std::process::abort();
        }
    }
}

/// Seconds that this process has used, where the system has `/proc`.
fn processor_time() -> Option<f64> {
    const TICKS_A_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: f64 = fields.next()?.parse().ok()?;
    let system: f64 = fields.next()?.parse().ok()?;
    Some((user + system) / TICKS_A_SECOND)
}

/// Runs `target`; a panic that leaves it is a crash.
pub fn quietly(target: impl FnOnce()) {
    INPUT.fetch_add(1, Ordering::Relaxed);
    if catch_unwind(AssertUnwindSafe(target)).is_err() {
        if let Some((panic, backtrace)) = PANIC.take() {
            eprintln!("{panic}\n{backtrace}");
        }
        std::process::abort();
    }
}

/// The path of a file that holds `bytes`, the same one for each name.
pub fn on_disk(name: &str, bytes: &[u8]) -> PathBuf {
    static DIRECTORY: OnceLock<tempfile::TempDir> = OnceLock::new();
    let path = DIRECTORY.get_or_init(|| tempfile::tempdir().expect("a directory")).path().join(name);
    std::fs::write(&path, bytes).expect("a file");
    path
}

/// The members of a zip, by name.
pub type Members = BTreeMap<String, Vec<u8>>;

/// Mutates one member of the zip in `data`, lets `agree` bring the others into line, and returns the new size. `None`
/// half of the time, and where `data` holds no zip or the new one is too large.
pub fn mutate_member(
    data: &mut [u8],
    size: usize,
    max_size: usize,
    seed: u32,
    agree: impl FnOnce(&mut Members),
) -> Option<usize> {
    let choice = seed.is_multiple_of(2).then_some(seed as usize / 2)?;
    let mut members = unpack(&data[..size])?;
    let name = members.keys().nth(choice % members.len().max(1))?.clone();
    let member = members.get_mut(&name)?;
    mutate(member, max_size);
    agree(&mut members);
    put(data, max_size, &pack(&members)?)
}

/// Makes the manifest of a `.dpc` state the hashes of the other members.
pub fn rehash(members: &mut Members) {
    const MANIFEST: &str = "manifest.json";
    let hashes = members.iter().filter(|(name, _)| *name != MANIFEST).map(|(name, bytes)| {
        let hash = Sha256::digest(bytes);
        (name.clone(), hex(&hash).into())
    });
    let hashes: serde_json::Map<String, serde_json::Value> = hashes.collect();
    let Some(manifest) = members.get_mut(MANIFEST) else { return };
    if let Ok(mut value) = serde_json::from_slice::<serde_json::Value>(manifest)
        && let Some(object) = value.as_object_mut()
    {
        object.insert("members".to_owned(), hashes.into());
        *manifest = value.to_string().into_bytes();
    }
}

/// Mutates one line of the ledger in `data` and chains it and those after it again. `None` as [`mutate_member`].
pub fn mutate_line(data: &mut [u8], size: usize, max_size: usize, seed: u32) -> Option<usize> {
    let choice = seed.is_multiple_of(2).then_some(seed as usize / 2)?;
    let mut lines: Vec<Vec<u8>> = data[..size].split(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect();
    let torn = lines.pop()?;
    for line in &mut lines {
        let end = line.windows(HASH.len()).rposition(|window| window == HASH).unwrap_or(line.len());
        line.truncate(end);
    }
    let chosen = choice % lines.len().max(1);
    mutate(lines.get_mut(chosen)?, max_size);
    let mut hash: [u8; 32] = Sha256::digest(b"dpc ledger v2").into();
    let mut text = Vec::new();
    for line in &lines {
        hash = Sha256::new().chain_update(hash).chain_update(line).chain_update(b"}").finalize().into();
        text.extend_from_slice(line);
        text.extend_from_slice(HASH);
        text.extend_from_slice(hex(&hash).as_bytes());
        text.extend_from_slice(b"\"}\n");
    }
    text.extend_from_slice(&torn);
    put(data, max_size, &text)
}

const HASH: &[u8] = br#","hash":""#;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn mutate(bytes: &mut Vec<u8>, max_size: usize) {
    let size = bytes.len();
    let room = max_size.max(size);
    bytes.resize(room, 0);
    let size = fuzzer_mutate(bytes, size, room);
    bytes.truncate(size);
}

fn unpack(bytes: &[u8]) -> Option<Members> {
    let mut archive = ZipArchive::new(Cursor::new(bytes)).ok()?;
    let mut members = Members::new();
    for index in 0..archive.len() {
        let member = archive.by_index(index).ok()?;
        let name = member.name().ok()?.into_owned();
        let mut content = Vec::new();
        member.take(LARGEST_MEMBER).read_to_end(&mut content).ok()?;
        members.insert(name, content);
    }
    Some(members)
}

const LARGEST_MEMBER: u64 = 1 << 20;

fn pack(members: &Members) -> Option<Vec<u8>> {
    let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    for (name, content) in members {
        archive.start_file(name.as_str(), options).ok()?;
        archive.write_all(content).ok()?;
    }
    Some(archive.finish().ok()?.into_inner())
}

fn put(data: &mut [u8], max_size: usize, bytes: &[u8]) -> Option<usize> {
    let fits = bytes.len() <= max_size;
    fits.then(|| {
        data[..bytes.len()].copy_from_slice(bytes);
        bytes.len()
    })
}
