//! Checks the house rules on every source file: size, opening doc, function length, floors, banned words,
//! and that nothing of the machine it was written on is left in the tree.

use std::fs;
use std::path::{Path, PathBuf};

/// A file longer than this is asked to split. Tests at its bottom do not count. Source: `research/style.md`.
const LINES_MAX: usize = 600;

/// A function longer than this is asked to split. Source: the `TigerBeetle` style guide.
const FUNCTION_LINES_MAX: usize = 70;

/// Floors of `hive-core`, lowest first. A file may import from its own floor and below.
const FLOORS: &[&[&str]] = &[
    &["time", "id", "units", "limits", "chance"],
    &[
        "pattern",
        "statement",
        "event_log",
        "reply",
        "signed",
        "wire",
        "vocabulary",
    ],
    &["machine", "hive"],
    &["collective"],
    &["event", "node"],
];

/// Words that must not appear in source, and what to write instead.
const BANNED: &[(&str, &str)] = &[
    ("FIXME", "mend it, or file an issue"),
    ("TODO", "do it, or file an issue"),
    ("dbg!(", "tracing"),
    ("todo!(", "the thing itself"),
    ("unimplemented!(", "the thing itself"),
    ("Result<(), String>", "an error type"),
    ("#[allow(", "#[expect(.., reason = \"..\")]"),
    ("Arc<Mutex", "one owner and messages"),
    ("#[ignore", "a loud skip, or no test"),
];

/// Words banned in `hive-core` only.
const BANNED_IN_CORE: &[(&str, &str)] = &[
    ("HashMap", "BTreeMap: iteration order must replay"),
    ("HashSet", "BTreeSet: iteration order must replay"),
    ("extern crate std", "the outside comes in as Input"),
    ("verify_batch", "verify_strict, one by one"),
];

/// Words banned in tests: a test waits for a condition, never for the clock.
const BANNED_IN_TESTS: &[(&str, &str)] = &[
    ("thread::sleep", "wait for a condition"),
    ("time::sleep", "wait for a condition"),
];

#[test]
fn the_house_is_tidy() {
    let root = workspace();
    let mut complaints = Vec::new();
    for path in rust_files(&root.join("crates")) {
        if path.ends_with("tidy/tests/tidy.rs") {
            continue; // Names the banned words.
        }
        let text = fs::read_to_string(&path).expect("readable");
        let name = path
            .strip_prefix(&root)
            .expect("inside")
            .display()
            .to_string();
        check_file(&name, &text, &mut |what| {
            complaints.push(format!("{name}: {what}"));
        });
    }
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

#[test]
fn the_tree_tells_nothing_of_where_it_was_written() {
    let root = workspace();
    let mut complaints = Vec::new();
    for path in text_files(&root) {
        let Ok(text) = fs::read_to_string(&path) else {
            continue;
        };
        for word in [
            concat!("/ro", "ot/"),
            concat!("/wo", "rk/"),
            concat!("/ho", "me/"),
        ] {
            if text.contains(word) {
                complaints.push(format!(
                    "{}: contains a path of a machine: {word}",
                    path.display()
                ));
            }
        }
    }
    assert!(complaints.is_empty(), "\n{}", complaints.join("\n"));
}

#[test]
fn unsafe_code_lives_in_one_crate() {
    for entry in fs::read_dir(workspace().join("crates")).expect("crates") {
        let path = entry.expect("entry").path();
        let Ok(manifest) = fs::read_to_string(path.join("Cargo.toml")) else {
            continue;
        };
        if !path.ends_with("hive-host") {
            assert!(
                manifest.contains("[lints]\nworkspace = true"),
                "{} does not inherit `unsafe_code = \"forbid\"`",
                path.display()
            );
        }
    }
}

fn check_file(name: &str, text: &str, complain: &mut impl FnMut(String)) {
    let body = text
        .split("#[cfg(test)]\nmod tests {")
        .next()
        .unwrap_or_default();
    let is_test = name.contains("/tests/") || name.ends_with("/tests.rs");
    if !is_test && body.lines().count() > LINES_MAX {
        complain(format!(
            "{} lines without its tests; split above {LINES_MAX}",
            body.lines().count()
        ));
    }
    if !text.starts_with("//!") {
        complain("does not open with `//!`: say what this file is for".into());
    }
    if name.ends_with("/mod.rs") {
        complain("mod.rs: name the file after its module".into());
    }
    for (word, instead) in BANNED {
        if text.contains(word) {
            complain(format!("contains `{word}`; use {instead}"));
        }
    }
    if name.contains("hive-core/src") {
        for (word, instead) in BANNED_IN_CORE {
            if body.contains(word) {
                complain(format!("contains `{word}`; use {instead}"));
            }
        }
    }
    let tests = if is_test { text } else { &text[body.len()..] };
    for (word, instead) in BANNED_IN_TESTS {
        if tests.contains(word) {
            complain(format!("a test contains `{word}`; {instead}"));
        }
    }
    if !is_test && body.contains(".unwrap()") {
        complain("contains `.unwrap()` outside tests".into());
    }
    check_functions(body, complain);
    check_floors(name, body, complain);
}

/// Function length, told by indentation: `rustfmt` puts the closing brace below the `fn`.
fn check_functions(body: &str, complain: &mut impl FnMut(String)) {
    let lines: Vec<&str> = body.lines().collect();
    for (start, line) in lines.iter().enumerate() {
        let trimmed = line.trim_start();
        let is_function = [
            "fn ",
            "pub fn ",
            "pub(crate) fn ",
            "pub(super) fn ",
            "async fn ",
            "pub async fn ",
            "pub const fn ",
            "const fn ",
        ]
        .iter()
        .any(|opening| trimmed.starts_with(opening));
        if !is_function || line.trim_end().ends_with(';') {
            continue;
        }
        let indent = line.len() - trimmed.len();
        let closing = format!("{}}}", " ".repeat(indent));
        let Some(length) = lines[start..].iter().position(|line| *line == closing) else {
            continue;
        };
        if length > FUNCTION_LINES_MAX {
            complain(format!(
                "line {}: a function of {length} lines; split above {FUNCTION_LINES_MAX}",
                start + 1
            ));
        }
    }
}

fn check_floors(name: &str, body: &str, complain: &mut impl FnMut(String)) {
    let Some((_, inside)) = name.split_once("hive-core/src/") else {
        return;
    };
    let Some(mine) = floor_of(inside) else {
        if inside != "lib.rs" {
            complain("stands on no floor; add it to FLOORS".into());
        }
        return;
    };
    for line in body.lines() {
        let Some((_, rest)) = line.split_once("use crate::") else {
            continue;
        };
        if rest.starts_with(|c: char| c == '{' || c.is_uppercase()) {
            complain(format!(
                "imports through the crate root, which hides the floor: {}",
                line.trim()
            ));
        }
        if floor_of(rest).is_some_and(|theirs| mine < theirs) {
            complain(format!("imports from a higher floor: {}", line.trim()));
        }
    }
}

fn floor_of(path: &str) -> Option<usize> {
    let module = path.split(['/', '.', ':', ';', ' ']).next()?;
    FLOORS.iter().position(|modules| modules.contains(&module))
}

fn workspace() -> PathBuf {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("crates/");
    crates.parent().expect("the workspace").to_path_buf()
}

fn rust_files(dir: &Path) -> Vec<PathBuf> {
    walk(dir)
        .into_iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .collect()
}

fn text_files(dir: &Path) -> Vec<PathBuf> {
    let wanted = ["rs", "md", "toml", "yml", "sh", "run"];
    walk(dir)
        .into_iter()
        .filter(|path| {
            path.extension()
                .is_none_or(|extension| wanted.iter().any(|want| extension == *want))
        })
        .collect()
}

fn walk(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).expect("readable") {
        let path = entry.expect("entry").path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if name == "target" || name == ".git" {
            continue;
        }
        if path.is_dir() {
            found.extend(walk(&path));
        } else {
            found.push(path);
        }
    }
    found.sort();
    found
}
