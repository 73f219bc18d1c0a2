//! tmp
fn main() {
    use flipsim::testing::fake_campaign;
    let d = std::env::args().nth(1).unwrap();
    std::fs::write(format!("{d}/golden.json"), serde_json::to_string(&fake_campaign::golden()).unwrap())
        .unwrap();
    let p = std::path::Path::new("/dev/shm/seed.sqlite");
    let _ = std::fs::remove_file(p);
    let spec = fake_campaign::spec(24, &["range:0x1000+4K", "class:core"]);
    let store = fake_campaign::create(p, &spec).unwrap();
    for (i, id) in store.pending(flipsim::campaign::Shard::WHOLE).unwrap().into_iter().enumerate() {
        let r = fake_campaign::record(&store.planned(id).unwrap());
        std::fs::write(format!("{d}/record{i}.json"), serde_json::to_string(&r).unwrap()).unwrap();
    }
    std::fs::write(format!("{d}/spec.toml"), spec.to_toml()).unwrap();
}
