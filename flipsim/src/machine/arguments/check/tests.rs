//! Every option of QEMU, and what is tried to get around the table.

use super::super::table::TABLE;
use super::*;

/// All options of QEMU 7.1 and 7.2 (`qemu-options.hx`); `=` takes a value.
const QEMU: &str = "help h version machine= M= cpu= accel= smp= numa= add-fd= set= global= boot= m= mem-path= \
    mem-prealloc k= audio-help audio= audiodev= device= name= uuid= fda= fdb= hda= hdb= hdc= hdd= cdrom= blockdev= \
    drive= mtdblock= sd= snapshot fsdev= virtfs= iscsi= usb usbdevice= display= nographic spice= portrait rotate= vga= \
    full-screen g= vnc= win2k-hack no-fd-bootchk no-acpi no-hpet acpitable= smbios= netdev= nic= net= chardev= tpmdev= \
    bios= pflash= kernel= append= initrd= dtb= compat= fw_cfg= serial= parallel= monitor= qmp= qmp-pretty= mon= \
    debugcon= pidfile= singlestep preconfig S overcommit= gdb= s d= D= dfilter= seed= L= enable-kvm xen-domid= \
    xen-attach xen-domid-restrict no-reboot no-shutdown action= loadvm= daemonize option-rom= rtc= icount= \
    watchdog-action= echr= incoming= only-migratable nodefaults chroot= runas= prom-env= semihosting \
    semihosting-config= old-param sandbox= readconfig= no-user-config trace= plugin= qtest= qtest-log= async-teardown \
    msg= dump-vmstate= enable-sync-profile object=";

fn words(text: &str) -> Vec<String> {
    text.split(' ').map(str::to_owned).collect()
}

fn refusal(text: &str) -> String {
    check(&words(text)).err().map(|refused| refused.to_string()).unwrap_or_default()
}

fn is_harmless(text: &str) -> bool {
    not_harmless(&words(text), None).is_empty()
}

#[test]
fn every_option_of_qemu_has_a_row_and_takes_a_value_as_qemu_says() {
    for option in QEMU.split_whitespace() {
        let (name, value) = (option.trim_end_matches('='), option.ends_with('='));
        let row = row(name).unwrap_or_else(|| panic!("-{name} has no row"));
        assert_eq!(row.value, value, "-{name}");
    }
}

#[test]
fn no_option_has_two_rows() {
    let mut names: Vec<_> = TABLE.iter().flat_map(|row| row.names).collect();
    let all = names.len();
    names.sort();
    names.dedup();
    assert_eq!(names.len(), all);
}

#[test]
fn what_the_lab_relies_on_is_refused_with_what_to_use() {
    for (text, remedy) in [
        ("-daemonize", "boot --headless"),
        ("-s", "--gdb tcp:1234"),
        ("-S", "boot --debug"),
        ("-gdb tcp::1234", "--gdb tcp:PORT"),
        ("-m 4G", "--memory"),
        ("-smp 4", "--cpus"),
        ("-machine virt", "--machine"),
        ("-M virt", "--machine"),
        ("-cpu max", "--cpu"),
        ("-accel kvm", "--clock"),
        ("-enable-kvm", "--clock"),
        ("-icount shift=auto", "--clock"),
        ("-rtc base=utc", "two runs"),
        ("-monitor stdio", "--monitor PATH"),
        ("-qmp tcp::4444,server", "--monitor PATH"),
        ("-qmp-pretty stdio", "--monitor PATH"),
        ("-mon chardev=c", "--monitor PATH"),
        ("-serial mon:stdio", "-chardev and -device"),
        ("-parallel none", "-chardev and -device"),
        ("-display gtk", "no display"),
        ("-nographic", "no display"),
        ("-vnc :0", "port on every interface"),
        ("-incoming exec:id>/tmp/x", "the lab's"),
        ("-loadvm x", "inject snap"),
        ("-snapshot", "boot --snapshot"),
        ("-action panic=none", "judged by"),
        ("-no-reboot", "judged by"),
        ("-no-shutdown", "judged by"),
        ("-watchdog-action none", "judged by"),
        ("-pidfile x", "boot list --json"),
        ("-chroot /", "guest's folder"),
        ("-runas nobody", "guest's folder"),
        ("-run-with user=x", "guest's folder"),
        ("-D /tmp/log", "qemu.log"),
        ("-readconfig f", "by itself"),
        ("-writeconfig f", "by itself"),
        ("-set drive.disk0.file=/etc/passwd", "by itself"),
        ("-sandbox off", "sandbox"),
        ("-preconfig", "wait for commands"),
        ("-kernel x", "--kernel"),
        ("-append x", "--append"),
        ("-initrd x", "--initrd"),
        ("-version", "ends"),
        ("-device help", "ends"),
        ("-mem-path /x", "--memory"),
        ("-chardev socket,id=console0,path=x", "`console0` is the lab's own"),
        ("-chardev stdio,id=c", "terminal"),
        ("-drive id=disk0,file=x", "`disk0` is the lab's own"),
        ("-object memory-backend-ram,id=ram0,size=1G", "`ram0` is the lab's own"),
        ("-device virtconsole,chardev=console0", "`console0` is the lab's own"),
        (r#"-blockdev {"driver":"raw","node-name":"x","file":"disk0"}"#, "`disk0` is the lab's own"),
        ("-virtfs local,path=/,mount_tag=host0,security_model=none", "--share"),
    ] {
        let said = refusal(text);
        assert!(said.starts_with(&format!("--qemu-arg {text}: ")), "{text}: {said}");
        assert!(said.contains(remedy), "{said}");
    }
}

#[test]
fn two_dashes_and_values_that_look_like_options_hide_nothing() {
    assert!(refusal("--daemonize").contains("boot --headless"));
    assert!(refusal("--incoming exec:id").contains("the lab's"));
    // The value of -name is -s, and only then comes an option.
    assert_eq!(refusal("-name -s"), "");
    assert!(refusal("-name -s -s").contains("1234"));
    // QEMU knows no option with three, and says so.
    assert_eq!(refusal("---s"), "");
    assert!(refusal("-no-acpi disk.img").contains("--image"));
    assert!(refusal("-device").contains("value is missing"));
    let one = [String::from("-m 4G")];
    assert!(check(&one).unwrap_err().to_string().contains("--qemu-arg -m --qemu-arg VALUE"));
    assert!(refusal("-m=4G").contains("--qemu-arg -m --qemu-arg VALUE"));
    // What a later QEMU has is passed on from one's own command line; what is wrong, QEMU says.
    assert_eq!(refusal("-bogus"), "");
    assert!(!is_harmless("-bogus"));
}

#[test]
fn no_port_is_opened_to_other_hosts() {
    for text in [
        "-netdev user,id=n,hostfwd=tcp::2222-:22",
        "-nic user,hostfwd=tcp:0.0.0.0:2222-:22",
        "-netdev socket,id=n,listen=:1234",
        "-netdev stream,id=n,server=on,addr.type=inet,addr.host=0.0.0.0,addr.port=1",
        "-chardev socket,id=c,port=1234,server=on,wait=off",
        "-chardev socket,id=c,host=0.0.0.0,port=1234,server",
        "-chardev udp,id=c,port=1,localport=2",
        "-debugcon tcp::1234,server,nowait",
        "-debugcon udp:1.2.3.4:1@:2",
    ] {
        assert!(refusal(text).contains("127.0.0.1"), "{text}: {}", refusal(text));
    }
    for text in [
        "-netdev user,id=n",
        "-netdev user,id=n,hostfwd=tcp:127.0.0.1:2222-:22",
        "-netdev socket,id=n,connect=10.0.0.1:1234",
        "-chardev socket,id=c,host=127.0.0.1,port=1234,server=on",
        "-chardev socket,id=c,path=/x,server=on",
        "-debugcon file:x",
        "-device virtio-net-pci,netdev=n",
        "-bios edk2.fd",
        "-drive if=none,id=more,file=x.img",
        "-numa node,memdev=ram0",
    ] {
        assert_eq!(refusal(text), "", "{text}");
    }
}

#[test]
fn from_somebody_elses_file_only_what_stays_in_the_guest_is_harmless() {
    for text in [
        "-device virtio-rng-pci",
        "-device virtio-rng-pci,bus=pcie.0,max-bytes=64,period=1000",
        "-object rng-builtin,id=r -device virtio-rng-pci,rng=r",
        "-name x -uuid 00000000-0000-0000-0000-000000000000",
        "-smbios type=1,serial=7",
        "-boot order=c",
        "-fw_cfg name=opt/x,string=y",
        "-net none -nic none",
    ] {
        assert!(is_harmless(text), "{text}");
    }
    for text in [
        "-device loader,file=/etc/shadow,addr=0x40000000",
        "-device virtio-net-pci,romfile=/etc/shadow",
        "-device vfio-pci,host=01:00.0",
        r#"-device {"driver":"loader","file":"/etc/shadow"}"#,
        "-object rng-random,id=r,filename=/dev/random",
        "-object memory-backend-file,id=x,mem-path=/etc/x,size=1M",
        "-fsdev local,id=f,path=/,security_model=none",
        "-virtfs local,path=/,mount_tag=x,security_model=none",
        "-netdev user,id=n,guestfwd=tcp:10.0.2.100:1-cmd:id",
        "-netdev tap,id=n,script=/tmp/x",
        "-chardev pipe,id=c,path=/x",
        "-drive file=/etc/passwd,format=raw",
        "-plugin /tmp/x.so",
        "-trace file=/tmp/x",
        "-semihosting",
        "-global virtio-net-pci.romfile=/etc/shadow",
        "-smbios file=/etc/shadow",
        "-smbios type=11,path=/etc/shadow",
        "-fw_cfg name=opt/x,file=/etc/shadow",
        "-boot splash=/etc/shadow",
        "-incoming exec:id",
        "-daemonize",
        "disk.img",
    ] {
        assert!(!is_harmless(text), "{text}");
    }
    let machine = |value: &str| not_harmless(&[], Some(value));
    assert_eq!(machine("virt,gic-version=3"), Vec::<String>::new());
    assert_eq!(machine("virt,dumpdtb=/home/x/.profile"), ["-machine virt,dumpdtb=/home/x/.profile"]);
    assert_eq!(machine("q35,firmware=/etc/shadow").len(), 1);
}

#[test]
fn programs_are_started_for_some_networks_alone() {
    for text in ["-netdev tap,id=n", "-nic bridge", "-netdev user,id=n,guestfwd=tcp:1.2.3.4:1-cmd:id"] {
        assert!(need_programs(&words(text)), "{text}");
    }
    for text in ["-netdev user,id=n", "-name tap", "-nic none", "-device virtio-net-pci"] {
        assert!(!need_programs(&words(text)), "{text}");
    }
}

#[test]
fn properties_of_the_machine_that_are_the_labs_are_refused() {
    let said =
        |value: &str| check_machine(value).err().map(|refused| refused.to_string()).unwrap_or_default();
    assert!(said("virt,accel=kvm").contains("--clock"));
    assert!(said("virt,memory-backend=x").contains("--memory"));
    assert!(said("virt,dumpdtb=x").contains("ends"));
    assert!(said("virt,smp.cpus=4").contains("--cpus"));
    assert!(said("virt,memory_backend=x").contains("--memory"));
    assert!(said("help").contains("ends"));
    assert_eq!(said("virt,gic-version=3,secure=on"), "");
    assert!(check_cpu("help").is_err() && check_cpu("max,sve=off").is_ok());
}

#[test]
fn what_is_refused_is_fit_to_be_printed() {
    let long = vec!["-incoming".to_owned(), format!("exec:\u{1b}[2J{}", "x".repeat(5000))];
    let said = check(&long).unwrap_err().to_string();
    assert!(!said.contains('\u{1b}') && said.len() < 600, "{said}");
    assert!(not_harmless(&long, None)[0].chars().all(|c| !c.is_control()));
}
