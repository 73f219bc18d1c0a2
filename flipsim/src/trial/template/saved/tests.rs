//! Tests of `saved`.

use super::*;
use crate::arch::Arch;
use crate::files::file_digest;
use crate::machine::spec::{Clock, kernel_command_line};
use crate::trial::template::make::MakeOptions;

fn plan(folder: &Path) -> TemplatePlan {
    let file = |name: &str| {
        let path = folder.join(name);
        fs::write(&path, name).unwrap();
        path
    };
    let arch = Arch::default();
    TemplatePlan {
        spec: MachineSpec {
            arch,
            machine: None,
            cpu: None,
            initrd: None,
            loader: None,
            qemu: file("qemu"),
            kernel: file("Image"),
            disk: None,
            memory: 128 << 20,
            cpus: 1,
            append: kernel_command_line(arch, Some("sha256"), ""),
            share: None,
            clock: Clock::Exact,
            fixed: Vec::new(),
            ram_file: None,
            incoming: false,
            stay_at_end: false,
            console: Console::Log,
            start_stopped: false,
            monitor: None,
            gdb: GdbPort::Socket,
            extra: Vec::new(),
            sandbox: false,
        },
        base: BaseImage { path: file("rootfs.qcow2"), format: "qcow2".into() },
        qemu_img: "/qemu-img".into(),
        qemu_version: "7".into(),
        workload: Some("sha256".into()),
        vmlinux: None,
        signals: Signals::default(),
    }
}

fn key(plan: &TemplatePlan) -> String {
    plan.key(&plan.digests(|path| file_digest(path, || false)).unwrap())
}

/// A template as far as `open` looks at it.
fn template(folder: &Path) -> PathBuf {
    let template = folder.join("t");
    let info = info(folder, &template);
    fs::write(template.join(INFO), serde_json::to_string(&info).unwrap()).unwrap();
    template
}

/// What such a template is.
pub(crate) fn info(folder: &Path, template: &Path) -> TemplateInfo {
    let plan = plan(folder);
    fs::create_dir(template).unwrap();
    fs::write(template.join(RAM), "ram").unwrap();
    let ram = Stored::of(&template.join(RAM), || false).unwrap();
    let inputs = plan.files().map(|(name, path)| {
        let stamp = FileStamp::of(path).unwrap();
        (
            name.to_owned(),
            Input { path: path.to_owned(), stamp, sha256: file_digest(path, || false).unwrap() },
        )
    });
    TemplateInfo {
        format: FORMAT,
        key: key(&plan),
        made: Timestamp::now(),
        command: Vec::new(),
        inputs: inputs.collect(),
        clock: Some(VirtualClock { virtual_ns: 5, icount: true, instructions: Some(5), stop_at: None }),
        capabilities: Capabilities::ALL,
        ram: RangeSet::default(),
        ram_digest: String::new(),
        registers: Vec::new(),
        boot_seconds: 0.5,
        files: BTreeMap::from([(RAM.to_owned(), ram)]),
        plan,
    }
}

#[test]
fn the_key_changes_with_everything_that_a_template_depends_on() {
    let folder = tempfile::tempdir().unwrap();
    let plan = plan(folder.path());
    let mut keys = vec![key(&plan)];
    let mut with = |change: &dyn Fn(&mut TemplatePlan)| {
        let mut other = plan.clone();
        change(&mut other);
        keys.push(key(&other));
    };
    with(&|plan| plan.spec.memory *= 2);
    with(&|plan| plan.spec.cpus = 2);
    with(&|plan| plan.spec.append.push_str(" quiet"));
    with(&|plan| plan.spec.clock = Clock::Real);
    with(&|plan| plan.spec.extra.push("-d".into()));
    with(&|plan| plan.workload = None);
    with(&|plan| plan.qemu_version = "8".into());
    with(&|plan| plan.spec.kernel = plan.base.path.clone());
    for name in ["qemu", "Image", "rootfs.qcow2"] {
        fs::write(folder.path().join(name), format!("{name} of another build")).unwrap();
        keys.push(key(&plan));
    }
    let count = keys.len();
    keys.sort();
    keys.dedup();
    assert_eq!(keys.len(), count);
    // What a template never has does not count.
    let shared = MachineSpec { share: Some("/x".into()), console: Console::Socket, ..plan.spec.clone() };
    assert_eq!(key(&TemplatePlan { spec: shared, ..plan.clone() }), key(&plan));
}

#[test]
fn a_template_opens_until_a_file_of_it_or_below_it_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = template(folder.path());
    let opened = Template::open(&path).unwrap();
    assert_eq!(opened.virtual_time(), VirtualNs(5));
    assert!(!opened.is_verified());
    fs::write(folder.path().join("rootfs.qcow2"), "written").unwrap();
    let text = Template::open(&path).unwrap_err().to_string();
    assert!(text.contains("rootfs.qcow2 has changed; delete its folder"), "{text}");
    fs::remove_dir_all(&path).unwrap();
    let path = template(folder.path());
    fs::write(path.join(RAM), "RAM!").unwrap();
    let text = Template::open(&path).unwrap_err().to_string();
    assert!(text.contains("its file `ram` is missing or was written"), "{text}");
}

#[test]
fn a_template_of_another_version_is_refused_with_its_version() {
    let folder = tempfile::tempdir().unwrap();
    let path = template(folder.path());
    fs::write(path.join(INFO), "{\"format\": 9, \"more\": 1}").unwrap();
    let text = Template::open(&path).unwrap_err().to_string();
    assert!(text.contains("it has format 9, this lab makes 3"), "{text}");
    fs::write(path.join(INFO), "{").unwrap();
    assert!(matches!(Template::open(&path), Err(TemplateError::Unusable { .. })));
}

#[test]
fn a_guest_that_the_host_s_processor_executes_is_no_template() {
    let folder = tempfile::tempdir().unwrap();
    let mut plan = plan(folder.path());
    plan.spec.clock = Clock::Kvm;
    let made = Template::make(&plan, &folder.path().join("t"), MakeOptions::default(), |_| {});
    assert!(matches!(made, Err(TemplateError::NotExact)));
    assert!(!folder.path().join("t.tmp").exists());
}

#[test]
fn the_same_template_in_two_folders_is_the_same_and_a_copy_of_one_goes_on() {
    let [first, second] = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let [here, there] = [plan(first.path()), plan(second.path())];
    assert_eq!(key(&here), key(&there));
    // It is made here, and copied there: other times, other paths.
    let made = template(first.path());
    let copied = second.path().join("t");
    fs::create_dir(&copied).unwrap();
    for name in [RAM, INFO] {
        fs::copy(made.join(name), copied.join(name)).unwrap();
    }
    let file = fs::File::options().write(true).open(copied.join(RAM)).unwrap();
    file.set_modified(std::time::UNIX_EPOCH).unwrap();
    drop(first);
    assert!(Template::open(&copied).is_err(), "what it was made of is gone");
    let open = |plan: &TemplatePlan| Template::open_as(&copied, plan, &key(plan), || false);
    let opened = open(&there).unwrap();
    assert_eq!(opened.info().plan, there);
    // It was read once, and what it is like is known from then on.
    assert_eq!(Template::load(&copied).unwrap().info.files, opened.info().files);
    // Another kernel of the same size, at the same place.
    fs::write(&there.spec.kernel, "egamI").unwrap();
    let text = open(&there).unwrap_err().to_string();
    assert!(text.contains("the template of another guest"), "{text}");
    fs::write(&there.spec.kernel, "Image").unwrap();
    open(&there).unwrap();
    fs::write(copied.join(RAM), "RAM").unwrap();
    assert!(open(&there).unwrap_err().to_string().contains("its file `ram`"));
}
