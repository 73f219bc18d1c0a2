//! Fragments, `.config` files and Kconfig texts, sound and broken.

use std::path::Path;

use proptest::prelude::*;

use super::*;

const NINE_P: &str = r#"
config 9P_FS
	tristate "A share from the host"
	depends on INET && NET_9P
	help
	  Words like these do not count:

	  depends on NOTHING

if 9P_FS
config 9P_CACHE
	bool "A cache for it"
	depends on 9P_FS=m && FSCACHE || 9P_FS=y && FSCACHE=y
config 9P_ACL
	bool "Access control"
endif

menu "More"
	depends on !TINY
config MORE
	bool "More of it" if EXPERT
	depends on (A || B) && \
		C
endmenu
"#;

fn explained(wish: &str, config: &str) -> String {
    let fragments = [Fragment::parse("f.config", wish).unwrap()];
    let config = KernelConfig::parse(config);
    let mut dropped = check(&fragments, &config);
    let mut dependencies = Dependencies::default();
    dependencies.add(NINE_P);
    dependencies.explain(&mut dropped, &config);
    dropped.iter().map(|d| format!("{}: {}\n", d.symbol, d.unmet.join(" "))).collect()
}

#[test]
fn a_fragment_is_read_with_every_kind_of_value() {
    let text = "# about\n\nCONFIG_A=y\nCONFIG_B=m\nCONFIG_C=n\n# CONFIG_D is not set\nCONFIG_E=\"a \\\" b\"\nCONFIG_F=0x1F\nCONFIG_G=-3\n";
    let fragment = Fragment::parse("f", text).unwrap();
    let values: Vec<String> =
        fragment.wishes.iter().map(|w| format!("{} {}={}", w.line, w.symbol, w.value)).collect();
    assert_eq!(values, ["3 A=y", "4 B=m", "5 C=n", "6 D=n", "7 E=\"a \\\" b\"", "8 F=0x1F", "9 G=-3"]);
}

#[test]
fn a_line_that_is_no_wish_is_an_error_that_names_it() {
    for bad in
        ["CONFIG_A", "CONFIG_A=yes", "A=y", "CONFIG_=y", "CONFIG_A=\"x", "CONFIG_A=\"x\\\"", "CONFIG_A=0x"]
    {
        let error = Fragment::parse("base.config", &format!("\n{bad}\n")).unwrap_err();
        assert_eq!((error.line, error.text.as_str()), (2, bad));
        assert!(error.to_string().starts_with("base.config:2: `"), "{error}");
    }
}

#[test]
fn a_symbol_without_a_line_is_off() {
    let fragments = [Fragment::parse("f", "# CONFIG_A is not set\nCONFIG_B=n\n").unwrap()];
    assert_eq!(check(&fragments, &KernelConfig::parse("")), []);
}

#[test]
fn what_olddefconfig_changed_is_reported_with_its_place() {
    let fragments = [Fragment::parse("base.config", "CONFIG_A=y\nCONFIG_B=4\nCONFIG_C=\"x\"\n").unwrap()];
    let config = KernelConfig::parse("CONFIG_A=y\nCONFIG_B=8\n# CONFIG_C is not set\n");
    let dropped = check(&fragments, &config);
    let shown: Vec<String> =
        dropped.iter().map(|d| format!("{}:{} {} {}", d.fragment, d.line, d.wanted, d.got)).collect();
    assert_eq!(shown, ["base.config:2 4 8", "base.config:3 \"x\" n"]);
}

#[test]
fn missing_dependencies_are_named() {
    assert_eq!(explained("CONFIG_9P_FS=y", "CONFIG_NET_9P=y"), "9P_FS: INET\n");
    assert_eq!(explained("CONFIG_9P_ACL=y", ""), "9P_ACL: 9P_FS\n");
    assert_eq!(
        explained("CONFIG_9P_CACHE=y", "CONFIG_9P_FS=y\nCONFIG_FSCACHE=m"),
        "9P_CACHE: 9P_FS=m FSCACHE=y\n"
    );
    assert_eq!(explained("CONFIG_MORE=y", "CONFIG_TINY=y\nCONFIG_B=y\n"), "MORE: !TINY EXPERT C\n");
    assert_eq!(explained("CONFIG_MORE=y", "CONFIG_EXPERT=y\nCONFIG_C=y\n"), "MORE: A B\n");
}

#[test]
fn the_message_says_what_to_put_where() {
    let mut dropped =
        check(&[Fragment::parse("9p.config", "CONFIG_9P_FS=y").unwrap()], &KernelConfig::default());
    insta::assert_snapshot!(dropped[0], @"9p.config:1: CONFIG_9P_FS should be y and is n; find out what it depends on with `make menuconfig` and the key /, or remove the line");
    let mut dependencies = Dependencies::default();
    dependencies.explain(&mut dropped, &KernelConfig::default());
    insta::assert_snapshot!(dropped[0], @"9p.config:1: CONFIG_9P_FS should be y and is n; this kernel has no such symbol: correct its name, or remove the line");
    dependencies.add(NINE_P);
    dependencies.explain(&mut dropped, &KernelConfig::default());
    insta::assert_snapshot!(dropped[0], @"9p.config:1: CONFIG_9P_FS should be y and is n; not met: INET, NET_9P; put CONFIG_INET=y, CONFIG_NET_9P=y into a fragment, or remove the line if this architecture cannot have it");
}

#[test]
fn every_fragment_of_the_lab_is_readable() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../kernel-config");
    let mut count = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let fragment = Fragment::parse(&path.display().to_string(), &text).unwrap();
        assert!(!fragment.wishes.is_empty(), "{} asks for nothing", path.display());
        count += 1;
    }
    assert!(count >= 6);
}

#[test]
fn the_fragments_for_a_tree_of_ones_own_ask_for_the_whole_chain() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../kernel-config");
    let all: String = ["9p", "pci", "pci-host-generic"]
        .map(|name| std::fs::read_to_string(folder.join(format!("{name}.config"))).unwrap())
        .concat();
    let config = KernelConfig::parse(&all);
    for symbol in [
        "9P_FS",
        "9P_FS_POSIX_ACL",
        "9P_FS_SECURITY",
        "NETWORK_FILESYSTEMS",
        "NET",
        "INET",
        "NET_9P",
        "NET_9P_VIRTIO",
        "PCI",
        "PCI_HOST_COMMON",
        "PCI_HOST_GENERIC",
        "VIRTIO_MENU",
        "VIRTIO_PCI",
        "VIRTIO_BLK",
        "BLOCK",
        "BLK_DEV",
        "NETDEVICES",
        "NET_CORE",
        "VIRTIO_NET",
    ] {
        assert_eq!(config.get(symbol), &Value::Yes, "{symbol}");
    }
}

#[test]
fn a_condition_that_is_nested_without_end_explains_nothing() {
    let deep = format!("config A\n\tdepends on {}B\n", "!(".repeat(100_000));
    let mut dependencies = Dependencies::default();
    dependencies.add(&deep);
    let mut dropped = check(&[Fragment::parse("f", "CONFIG_A=y").unwrap()], &KernelConfig::default());
    dependencies.explain(&mut dropped, &KernelConfig::default());
    assert_eq!((dropped[0].defined, dropped[0].unmet.len()), (Some(true), 0));
}

fn kconfig_like() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        "config [A-C]",
        "menuconfig [A-C]",
        "[ \t]{0,2}depends on [A-C!()&|= \"<>ym]{0,12}",
        "if [A-C!()&|]{0,6}",
        "endif",
        "menu \"x\"",
        "endmenu",
        "choice",
        "endchoice",
        "\tbool \"x\" if [A-C!]{1,3}",
        "\thelp",
        "\t  text",
        ".{0,20}",
        "[ -~]{0,10}\\\\",
    ];
    proptest::collection::vec(line, 0..40).prop_map(|lines| lines.join("\n"))
}

proptest! {
    #[test]
    fn no_input_makes_anything_panic(fragment in "\\PC{0,80}", config in "\\PC{0,80}", kconfig in kconfig_like()) {
        let _ = Fragment::parse("f", &fragment);
        let config = KernelConfig::parse(&config);
        let wishes = Fragment::parse("f", "CONFIG_A=y\nCONFIG_B=m\nCONFIG_C=1\n").unwrap();
        let mut dropped = check(&[wishes], &config);
        let mut dependencies = Dependencies::default();
        dependencies.add(&kconfig);
        dependencies.explain(&mut dropped, &config);
        for dropped in &dropped {
            let _ = dropped.to_string();
        }
    }

    #[test]
    fn a_wish_survives_its_text_form(name in "[A-Z0-9_]{1,12}", value in prop_oneof![
        Just(Value::Yes), Just(Value::Module), Just(Value::No),
        "[a-z0-9 .#=]{0,12}".prop_map(Value::Text), any::<i64>().prop_map(|n| Value::Number(n.to_string())),
    ]) {
        let text = format!("CONFIG_{name}={value}\n");
        let fragment = Fragment::parse("f", &text).unwrap();
        prop_assert_eq!(&fragment.wishes[0].value, &value);
        let config = KernelConfig::parse(&text);
        prop_assert_eq!(config.get(&name), &value);
    }
}
