//! The cache: products found again, broken ones not, and only what is ours deleted.

use super::*;

fn request(flag: &str) -> Request {
    Request {
        step: "qemu",
        arch: "aarch64",
        recipe: 1,
        source: serde_json::json!({"sha256": "00"}),
        flags: vec![flag.to_owned()],
        compiler: "cc 1".to_owned(),
        inputs: BTreeMap::new(),
    }
}

fn made_from() -> MadeFrom {
    let source = SourceRecord { from: "a file".into(), version: "1".into(), files: BTreeMap::new() };
    MadeFrom { source, flags: vec![], compiler: "cc 1".into(), recipe: 1, inputs: BTreeMap::new() }
}

fn publish(cache: &Cache, request: &Request) -> Product {
    let fill = |dir: &Path| {
        fs::write(dir.join("tool"), "content")?;
        Ok(BTreeMap::from([("version".to_owned(), "1".to_owned())]))
    };
    cache.publish(request, made_from(), fill).unwrap()
}

#[test]
fn a_product_is_found_again_by_the_same_request_only() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::at(dir.path());
    assert!(cache.find(&request("a")).unwrap().is_none());
    let made = publish(&cache, &request("a"));
    let found = cache.find(&request("a")).unwrap().unwrap();
    assert_eq!(found.dir, made.dir);
    assert_eq!(found.manifest.files["tool"].sha256, digest::of_bytes(b"content"));
    assert!(cache.find(&request("b")).unwrap().is_none());
}

#[test]
fn a_product_that_fails_half_way_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::at(dir.path());
    let fill = |dir: &Path| {
        fs::write(dir.join("tool"), "half")?;
        bail!("no")
    };
    assert!(cache.publish(&request("a"), made_from(), fill).is_err());
    assert_eq!(fs::read_dir(dir.path().join("store")).unwrap().count(), 0);
    assert!(cache.find(&request("a")).unwrap().is_none());
}

#[test]
fn a_damaged_product_is_not_found_and_can_be_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::at(dir.path());
    for damage in ["tool", "manifest.json"] {
        let made = publish(&cache, &request("a"));
        fs::write(made.dir.join(damage), "{").unwrap();
        assert!(cache.find(&request("a")).unwrap().is_none(), "{damage}");
    }
    publish(&cache, &request("a"));
    assert!(cache.find(&request("a")).unwrap().is_some());
}

#[test]
fn a_manifest_of_another_format_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let made = publish(&Cache::at(dir.path()), &request("a"));
    let path = made.dir.join("manifest.json");
    let text = fs::read_to_string(&path).unwrap().replacen("\"format\": 1", "\"format\": 99", 1);
    fs::write(&path, text).unwrap();
    let error = load_product(&made.dir).unwrap_err().to_string();
    assert!(error.contains("format 99"), "{error}");
}

#[test]
fn a_second_process_waits_for_the_lock() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::at(dir.path());
    let first = cache.lock("qemu", "QEMU").unwrap();
    let waiting = std::thread::spawn({
        let cache = cache.clone();
        move || cache.lock("qemu", "QEMU").unwrap()
    });
    std::thread::sleep(Duration::from_millis(300));
    assert!(!waiting.is_finished());
    drop(first);
    waiting.join().unwrap();
}

#[test]
fn too_little_space_is_an_error_that_names_the_way_out() {
    let dir = tempfile::tempdir().unwrap();
    let cache = Cache::at(dir.path());
    cache.need_space(1, "QEMU").unwrap();
    let error = cache.need_space(u64::MAX, "QEMU").unwrap_err().to_string();
    assert!(error.contains("QEMU needs") && error.contains("FLIPSIM_CACHE"), "{error}");
}

#[test]
fn a_full_disk_is_explained() {
    assert!(full_disk_hint(&io::Error::from(io::ErrorKind::StorageFull)).contains("disk is full"));
    assert_eq!(full_disk_hint(&io::Error::from(io::ErrorKind::NotFound)), "");
}
