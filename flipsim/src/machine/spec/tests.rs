//! Tests of `spec`.

use super::*;

pub(crate) fn spec() -> MachineSpec {
    let arch = Arch::default();
    MachineSpec {
        arch,
        machine: None,
        cpu: None,
        qemu: "/lab/qemu-system-aarch64".into(),
        loader: None,
        kernel: "/lab/Image".into(),
        initrd: None,
        disk: Some(Disk {
            path: "disk.qcow2".into(),
            format: "qcow2".into(),
            writes: DiskWrites::Keep,
            backing: None,
        }),
        memory: 128 << 20,
        cpus: 1,
        append: kernel_command_line(arch, Some("sha256"), ""),
        share: Some("/lab/share".into()),
        clock: Clock::Real,
        fixed: Vec::new(),
        ram_file: None,
        incoming: false,
        stay_at_end: false,
        console: Console::Socket,
        start_stopped: false,
        monitor: None,
        gdb: GdbPort::Socket,
        extra: Vec::new(),
        sandbox: false,
    }
}

fn text(spec: &MachineSpec) -> String {
    let args: Vec<_> = spec.argv().iter().map(|arg| arg.to_string_lossy().into_owned()).collect();
    args.join("\n").replace("\n-", "\n\n-").replace("\n\n", "\u{0}").replace('\n', " ").replace('\0', "\n")
}

#[test]
fn a_headless_guest_has_this_command_line() {
    insta::assert_snapshot!(text(&spec()), @r"
        -nodefaults
        -no-user-config
        -display none
        -machine virt
        -cpu cortex-a57
        -accel tcg
        -smp 1
        -m 128M
        -rtc base=2026-01-01T00:00:00,clock=vm
        -kernel /lab/Image
        -append console=ttyAMA0 root=/dev/vda rw nokaslr panic=-1 flipsim.workload=sha256
        -drive if=none,id=disk0,format=qcow2,file=disk.qcow2
        -device virtio-blk-pci,drive=disk0
        -fsdev local,id=share0,security_model=none,path=/lab/share
        -device virtio-9p-pci,fsdev=share0,mount_tag=host0
        -device pvpanic-pci
        -action panic=pause,reboot=shutdown
        -chardev socket,id=console0,path=console.sock,server=on,wait=off,logfile=console.log,logappend=on
        -serial chardev:console0
        -qmp unix:qmp.sock,server=on,wait=off
        -qmp unix:qmp-watch.sock,server=on,wait=off
        -monitor unix:monitor.sock,server=on,wait=off
        -chardev socket,id=gdb0,path=gdb.sock,server=on,wait=off
        -gdb chardev:gdb0
        ");
}

#[test]
fn a_guest_for_a_person_and_a_debugger_has_this_command_line() {
    let spec = MachineSpec {
        console: Console::Terminal,
        start_stopped: true,
        monitor: Some("/home/me/qemu,socket".into()),
        gdb: GdbPort::Tcp(1234),
        disk: Some(Disk {
            path: "my disk.img".into(),
            format: "raw".into(),
            writes: DiskWrites::Discard,
            backing: None,
        }),
        share: None,
        cpus: 2,
        clock: Clock::Kvm,
        extra: vec!["-device".into(), "virtio-rng-pci".into()],
        ..spec()
    };
    insta::assert_snapshot!(text(&spec), @r"
        -nodefaults
        -no-user-config
        -display none
        -machine virt
        -cpu host
        -accel kvm
        -smp 2
        -m 128M
        -rtc base=2026-01-01T00:00:00,clock=vm
        -kernel /lab/Image
        -append console=ttyAMA0 root=/dev/vda rw nokaslr panic=-1 flipsim.workload=sha256
        -drive if=none,id=disk0,format=raw,snapshot=on,file=my disk.img
        -device virtio-blk-pci,drive=disk0
        -device pvpanic-pci
        -action panic=pause,reboot=shutdown
        -chardev stdio,id=console0,mux=on,signal=off,logfile=console.log,logappend=on
        -mon chardev=console0,mode=readline
        -serial chardev:console0
        -qmp unix:qmp.sock,server=on,wait=off
        -qmp unix:qmp-watch.sock,server=on,wait=off
        -monitor unix:monitor.sock,server=on,wait=off
        -chardev socket,id=monitor1,server=on,wait=off,path=/home/me/qemu,,socket
        -mon chardev=monitor1,mode=readline
        -gdb tcp:127.0.0.1:1234
        -S
        -device virtio-rng-pci
        ");
}

#[test]
fn an_exact_guest_has_this_command_line() {
    let fixed = vec!["dtb-randomness=off".to_owned()];
    let spec = MachineSpec { clock: Clock::Exact, fixed, share: None, ..spec() };
    insta::assert_snapshot!(text(&spec), @r"
        -nodefaults
        -no-user-config
        -display none
        -machine virt,dtb-randomness=off
        -cpu cortex-a57
        -accel tcg
        -icount shift=0,sleep=off
        -seed 1
        -smp 1
        -m 128M
        -rtc base=2026-01-01T00:00:00,clock=vm
        -kernel /lab/Image
        -append console=ttyAMA0 root=/dev/vda rw nokaslr panic=-1 flipsim.workload=sha256
        -drive if=none,id=disk0,format=qcow2,cache=unsafe,file=disk.qcow2
        -device virtio-blk-pci,drive=disk0,ioeventfd=off
        -device pvpanic-pci
        -action panic=pause,reboot=shutdown
        -chardev socket,id=console0,path=console.sock,server=on,wait=off,logfile=console.log,logappend=on
        -serial chardev:console0
        -qmp unix:qmp.sock,server=on,wait=off
        -qmp unix:qmp-watch.sock,server=on,wait=off
        -monitor unix:monitor.sock,server=on,wait=off
        -chardev socket,id=gdb0,path=gdb.sock,server=on,wait=off
        -gdb chardev:gdb0
        ");
}

#[test]
fn an_exact_guest_of_x86_64_has_this_command_line() {
    let arch = "x86_64".parse().unwrap();
    let spec = MachineSpec {
        arch,
        clock: Clock::Exact,
        append: kernel_command_line(arch, Some("sha256"), ""),
        share: None,
        ram_file: Some(RamFile { path: "/t/ram".into(), shared: true }),
        ..spec()
    };
    let text = text(&spec);
    let lines: Vec<&str> = text.lines().take_while(|line| !line.starts_with("-drive")).collect();
    insta::assert_snapshot!(lines.join("\n"), @r"
        -nodefaults
        -no-user-config
        -display none
        -machine q35,hpet=off,memory-backend=ram0
        -global apic-common.vapic=off
        -cpu qemu64
        -accel tcg
        -icount shift=0,sleep=off
        -seed 1
        -smp 1
        -m 128M
        -object memory-backend-file,id=ram0,size=128M,share=on,mem-path=/t/ram
        -rtc base=2026-01-01T00:00:00,clock=vm
        -kernel /lab/Image
        -append console=ttyS0 root=/dev/vda rw nokaslr panic=-1 tsc=reliable flipsim.workload=sha256
        ");
}

#[test]
fn a_clone_differs_from_its_template_in_the_mapping_of_ram_the_disk_and_the_incoming_state() {
    let ram = |shared| Some(RamFile { path: "/t/ram,1".into(), shared });
    let disk =
        |writes| Some(Disk { path: "/t/disk.qcow2".into(), format: "qcow2".into(), writes, backing: None });
    let template = MachineSpec {
        clock: Clock::Exact,
        share: None,
        console: Console::Log,
        start_stopped: true,
        ram_file: ram(true),
        ..spec()
    };
    let clone = MachineSpec {
        ram_file: ram(false),
        disk: disk(DiskWrites::Discard),
        incoming: true,
        stay_at_end: true,
        ..template.clone()
    };
    let (template, clone) = (text(&template), text(&clone));
    let lines = |a: &str, b: &str| {
        let apart = a.lines().filter(|line| !b.lines().any(|other| other == *line));
        apart.collect::<Vec<_>>().join("\n")
    };
    insta::assert_snapshot!(lines(&template, &clone), @r"
        -object memory-backend-file,id=ram0,size=128M,share=on,mem-path=/t/ram,,1
        -drive if=none,id=disk0,format=qcow2,cache=unsafe,file=disk.qcow2
        -action panic=pause,reboot=shutdown
        ");
    insta::assert_snapshot!(lines(&clone, &template), @r"
        -object memory-backend-file,id=ram0,size=128M,share=off,mem-path=/t/ram,,1
        -drive if=none,id=disk0,format=qcow2,snapshot=on,cache=unsafe,file=/t/disk.qcow2
        -action panic=pause,reboot=shutdown,shutdown=pause
        -incoming defer
        ");
}

#[test]
fn a_disk_whose_writes_stay_in_memory_is_a_filter_over_files_that_are_only_read() {
    let backing = Some(BaseImage { path: "/lab,1/root.raw".into(), format: "raw".into() });
    let disk = Disk { path: "/t/d,1".into(), format: "qcow2".into(), writes: DiskWrites::Memory, backing };
    let text = text(&MachineSpec { clock: Clock::Exact, disk: Some(disk), ..spec() });
    let lines: Vec<_> = text.lines().filter(|line| line.contains("disk0")).collect();
    insta::assert_snapshot!(lines.join("\n"), @r"
        -blockdev driver=flipsim-cow,node-name=disk0,file.driver=qcow2,file.read-only=on,file.file.driver=file,file.file.read-only=on,file.backing.driver=raw,file.backing.file.driver=file,file.backing.file.filename=/lab,,1/root.raw,file.file.filename=/t/d,,1
        -device virtio-blk-pci,drive=disk0,ioeventfd=off
        ");
}

#[test]
fn the_kernels_command_line_ends_with_what_the_user_adds() {
    let arch = Arch::default();
    assert_eq!(
        kernel_command_line(arch, None, " quiet "),
        "console=ttyAMA0 root=/dev/vda rw nokaslr panic=-1 quiet"
    );
    assert!(kernel_command_line(arch, Some("fs"), "").ends_with(" flipsim.workload=fs"));
}

#[test]
fn commas_in_paths_are_doubled_where_qemu_wants_it() {
    let spec = MachineSpec { share: Some("/a,b/c".into()), kernel: "/k,1".into(), ..spec() };
    let text = text(&spec);
    assert!(text.contains("security_model=none,path=/a,,b/c"), "{text}");
    assert!(text.contains("-kernel /k,1"), "{text}");
}

#[test]
fn a_qemu_with_libraries_of_its_own_is_started_by_what_loads_them() {
    let plain = spec();
    let (program, before) = plain.program();
    assert_eq!((program, before.len()), (Path::new("/lab/qemu-system-aarch64"), 0));
    let loader = Loader { program: "/p/ld.so".into(), libraries: "/p/lib".into() };
    let spec = MachineSpec { loader: Some(loader), ..spec() };
    let (program, before) = spec.program();
    assert_eq!(program, Path::new("/p/ld.so"));
    assert_eq!(before, ["--inhibit-cache", "--library-path", "/p/lib", "/lab/qemu-system-aarch64"]);
}
