//! Export and import, and archives that are broken or hostile.

use crate::support::World;
use sprat_registry::{Limits, Version};
use sprat_task::{Digest, Interrupt, Quiet};
use std::fs;
use std::path::{Path, PathBuf};
use tar::{Builder, EntryType, Header};

fn export(world: &World, version: &Version, name: &str) -> PathBuf {
    let path = world.folder.path().join(name);
    let bytes = world.registry.export(version, &path, &Quiet, &Interrupt::default()).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().len(), bytes);
    path
}

/// What importing says: the version, or the error's code and reason.
fn import(world: &World, path: &Path, limits: &Limits) -> Result<Version, (&'static str, String)> {
    let imported = world.registry.import(path, limits, &Quiet, &Interrupt::default());
    imported.map(|imported| imported.version).map_err(|why| (why.code().id, why.to_string()))
}

#[test]
fn a_version_travels_to_another_registry_and_back() {
    let (home, away) = (World::new(), World::new());
    home.release("other");
    let version = home.release("weights");
    let archive = export(&home, &version, "v2.tar");
    let there = import(&away, &archive, &Limits::default()).unwrap();
    assert_eq!(
        (there.number, there.digest),
        (1, version.digest),
        "a number of its own, one digest"
    );
    assert_eq!(there.content, version.content);
    let origin = there.origin.unwrap();
    assert_eq!((origin.number, origin.created), (version.number, version.created));
    let folder = away.registry.checkout(&there).unwrap();
    assert_eq!(fs::read(folder.join("weights/head.bin")).unwrap(), b"weights");
    assert_eq!(import(&away, &archive, &Limits::default()).unwrap(), there, "twice is once");
    assert_eq!(import(&home, &archive, &Limits::default()).unwrap(), version);
    home.assert_sound();
    away.assert_sound();
}

#[test]
fn an_archive_is_always_the_same_bytes_and_tar_can_read_it() {
    let world = World::new();
    let version = world.release("weights");
    let first = fs::read(export(&world, &version, "a.tar")).unwrap();
    assert_eq!(first, fs::read(export(&world, &version, "b.tar")).unwrap());
    let mut archive = tar::Archive::new(&first[..]);
    let names: Vec<String> = archive
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap().path().unwrap().display().to_string())
        .collect();
    assert_eq!(names.len(), 3);
    assert_eq!(names[0], "manifest.json");
    let blob = format!("blobs/{}", Digest::of(b"weights"));
    assert!(names.contains(&blob));
}

#[test]
fn a_truncated_archive_adds_nothing_wherever_it_ends() {
    let (home, away) = (World::new(), World::new());
    let whole = fs::read(export(&home, &home.release("weights"), "whole.tar")).unwrap();
    let torn = away.folder.path().join("torn.tar");
    // The last kilobyte is the end mark; tar readers live without it.
    let needed = whole.len() - 1024;
    for end in (0..needed - 511).step_by(256).chain([1, needed - 512]) {
        fs::write(&torn, &whole[..end]).unwrap();
        let (code, why) = import(&away, &torn, &Limits::default()).unwrap_err();
        assert_eq!(code, "SPRAT-REGISTRY-ARCHIVE", "{end} bytes: {why}");
    }
    assert!(away.registry.versions(None).unwrap().is_empty());
    away.assert_sound();
}

#[test]
fn no_flipped_byte_changes_what_is_imported() {
    let (home, away) = (World::new(), World::new());
    let version = home.release("weights");
    let whole = fs::read(export(&home, &version, "whole.tar")).unwrap();
    let flipped = away.folder.path().join("flipped.tar");
    for at in (0..whole.len()).step_by(37) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x10;
        fs::write(&flipped, &bytes).unwrap();
        // Padding and remarks do not count; whatever gets in is what was released.
        if let Ok(there) = import(&away, &flipped, &Limits::default()) {
            assert_eq!((there.digest, &there.content), (version.digest, &version.content));
        }
    }
    away.assert_sound();
}

struct Entry {
    name: String,
    content: Vec<u8>,
    kind: EntryType,
}

fn entries(archive: &Path) -> Vec<Entry> {
    let bytes = fs::read(archive).unwrap();
    let mut archive = tar::Archive::new(&bytes[..]);
    let read = |entry: std::io::Result<tar::Entry<'_, &[u8]>>| {
        let mut entry = entry.unwrap();
        let mut content = Vec::new();
        std::io::copy(&mut entry, &mut content).unwrap();
        let name = String::from_utf8(entry.path_bytes().into_owned()).unwrap();
        Entry { name, content, kind: EntryType::Regular }
    };
    archive.entries().unwrap().map(read).collect()
}

fn pack(path: &Path, entries: &[Entry]) {
    let mut builder = Builder::new(fs::File::create(path).unwrap());
    for entry in entries {
        let mut header = Header::new_ustar();
        // Written by hand, for `set_path` refuses what a hostile archive may hold.
        header.as_mut_bytes()[..entry.name.len()].copy_from_slice(entry.name.as_bytes());
        header.set_size(entry.content.len() as u64);
        header.set_entry_type(entry.kind);
        header.set_mode(0o644);
        header.set_cksum();
        builder.append(&header, &entry.content[..]).unwrap();
    }
    builder.finish().unwrap();
}

#[test]
fn a_hostile_archive_is_refused() {
    let (home, away) = (World::new(), World::new());
    let archive = export(&home, &home.release("weights"), "good.tar");
    let hostile = away.folder.path().join("hostile.tar");
    let try_with = |change: &dyn Fn(&mut Vec<Entry>)| {
        let mut entries = entries(&archive);
        change(&mut entries);
        pack(&hostile, &entries);
        let (code, why) = import(&away, &hostile, &Limits::default()).unwrap_err();
        assert_eq!(code, "SPRAT-REGISTRY-ARCHIVE");
        why
    };
    let plain = |name: &str, content: &[u8]| Entry {
        name: name.into(),
        content: content.into(),
        kind: EntryType::Regular,
    };
    let evil = |name: &'static str| move |list: &mut Vec<Entry>| list.push(plain(name, b"evil"));
    for name in ["../../evil", "/etc/evil", "evil", "blobs/../../evil"] {
        assert!(try_with(&evil(name)).contains("not in its manifest"));
    }
    let why = try_with(&|list| list[1].content = b"{]".into());
    assert!(why.contains("2 bytes") || why.contains("digest"), "{why}");
    assert!(try_with(&|list| list[1].content = b"[]".into()).contains("digest"));
    assert!(try_with(&|list| list[1].kind = EntryType::Symlink).contains("not a plain file"));
    let long = |kind| Entry { name: "././@LongLink".into(), content: vec![b'a'; 5000], kind };
    assert!(try_with(&|list| list.insert(1, long(EntryType::GNULongName))).contains("plain file"));
    assert!(try_with(&|list| list.insert(0, long(EntryType::XHeader))).contains("begin with"));
    assert!(try_with(&|list| list.push(plain("manifest.json", b"{}"))).contains("comes twice"));
    assert!(try_with(&|list| drop(list.remove(1))).contains("ends before"));
    assert!(try_with(&|list| list.swap(0, 1)).contains("begin with"));
    assert!(try_with(&|list| list.clear()).contains("empty"));
    let rewrite = |from: &'static str, to: &'static str| {
        move |list: &mut Vec<Entry>| {
            let text = String::from_utf8(list[0].content.clone()).unwrap();
            assert!(text.contains(from), "{from}");
            list[0].content = text.replace(from, to).into_bytes();
        }
    };
    assert!(try_with(&rewrite("0.93", "0.99")).contains("match the version's digest"));
    assert!(try_with(&rewrite("weights/head.bin", "../../head.bin")).contains("digest"));
    assert!(try_with(&rewrite("\"format\": 1", "\"format\": 2")).contains("format 2"));
    assert!(try_with(&rewrite("\"kind\"", "\"kinds\"")).contains("kind"));
    assert!(try_with(&|list| list[0].content = vec![b'['; 100_000]).contains("manifest"));
    assert!(away.registry.versions(None).unwrap().is_empty());
    assert!(!away.folder.path().join("evil").exists());
    away.assert_sound();
}

#[test]
fn a_manifest_with_its_own_digest_right_still_cannot_leave_its_folder() {
    let (home, away) = (World::new(), World::new());
    let archive = export(&home, &home.release("weights"), "good.tar");
    let mut entries = entries(&archive);
    let mut manifest: serde_json::Value = serde_json::from_slice(&entries[0].content).unwrap();
    let tree = manifest["content"]["artefact"].as_object_mut().unwrap();
    let file = tree.remove("weights/head.bin").unwrap();
    tree.insert("../../../evil".into(), file);
    manifest["digest"] = Digest::of_json(&manifest["content"]).to_string().into();
    entries[0].content = serde_json::to_vec(&manifest).unwrap();
    let hostile = away.folder.path().join("hostile.tar");
    pack(&hostile, &entries);
    let (code, why) = import(&away, &hostile, &Limits::default()).unwrap_err();
    assert_eq!(code, "SPRAT-REGISTRY-ARCHIVE");
    assert!(why.contains("../../../evil"), "{why}");
}

#[test]
fn an_archive_beyond_the_limits_is_refused_before_anything_is_stored() {
    let (home, away) = (World::new(), World::new());
    let archive = export(&home, &home.release("weights"), "good.tar");
    let fine = Limits { bytes: 9, files: 2, manifest: 100_000 };
    for limits in
        [Limits { bytes: 8, ..fine }, Limits { files: 1, ..fine }, Limits { manifest: 100, ..fine }]
    {
        let (code, _) = import(&away, &archive, &limits).unwrap_err();
        assert_eq!(code, "SPRAT-REGISTRY-ARCHIVE-TOO-LARGE");
    }
    assert!(away.registry.blobs().list().unwrap().is_empty());
    import(&away, &archive, &fine).unwrap();
}
