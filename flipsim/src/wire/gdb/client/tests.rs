//! The client against a stub that has QEMU's traps: one test a trap, one a fault of the wire.
//!
//! Invariant: nothing here waits longer than [`QUICK`] for an answer that will not come.

use proptest::prelude::*;

use super::*;
use crate::testing::{AfterResume, FakeRegister, FakeStub, StubFault};

const RAM: u64 = 0x4000_0000;

/// Long enough for a loaded host to schedule the fake, where the answer does come.
const PATIENT: Timeouts = Timeouts { connect: Duration::from_secs(5), reply: Duration::from_secs(20) };

/// For answers that will not come.
const QUICK: Duration = Duration::from_millis(120);

fn connect(stub: &FakeStub) -> GdbClient {
    let client = GdbClient::connect(&stub.endpoint(), PATIENT).unwrap();
    stub.clear_log();
    client
}

fn hurry(client: &mut GdbClient) {
    client.link.timeouts.reply = QUICK;
}

fn physical(stub: &FakeStub) -> GdbClient {
    let mut client = connect(stub);
    client.set_physical_memory(true).unwrap();
    stub.clear_log();
    client
}

#[test]
fn the_handshake_reads_the_description_before_anything_else() {
    let stub = FakeStub::builder().spawn();
    let client = GdbClient::connect(&stub.endpoint(), PATIENT).unwrap();
    insta::assert_snapshot!(stub.log().join("\n"), @"
    qSupported
    qXfer:features:read:target.xml:0,7f8
    qXfer:features:read:aarch64-core.xml:0,7f8
    qXfer:features:read:aarch64-fpu.xml:0,7f8
    qXfer:features:read:system-registers.xml:0,7f8
    ?
    qqemu.PhyMemMode
    ");
    assert_eq!(client.packet_size(), 0x1000, "PacketSize is hex");
    assert_eq!(client.registers().len(), 9);
    assert_eq!(client.register("TTBR0_EL1").map(|it| it.number), Some(70));
    assert_eq!(client.register("v0").map(|it| (it.number, it.bits)), Some((34, 128)));
}

#[test]
fn connecting_stops_the_guest() {
    let stub = FakeStub::builder().spawn();
    assert!(stub.is_running());
    let mut client = connect(&stub);
    assert!(!stub.is_running());
    assert_eq!(client.unasked_stops(), 1, "the stop reply of the connection itself");
    assert!(matches!(client.run_state(), Ok(RunState::Stopped(_))));
}

#[test]
fn a_guest_that_stands_already_sends_no_stop_reply_at_connection() {
    let stub = FakeStub::builder().stopped().spawn();
    assert_eq!(connect(&stub).unasked_stops(), 0);
}

#[test]
fn registers_are_served_because_the_description_was_read() {
    let stub = FakeStub::builder().spawn();
    let mut client = connect(&stub);
    assert_eq!(client.read_register(1).unwrap(), 1u64.to_le_bytes());
    // The stub forgets with each connection that the description was read.
    drop(client);
    let mut client = connect(&stub);
    assert_eq!(client.read_register(33).unwrap(), [0xc5, 3, 0, 0x40]);
}

#[test]
fn a_register_before_the_description_is_answered_empty_and_reported_as_unsupported() {
    let stub = FakeStub::builder().spawn();
    let mut client = connect(&stub);
    stub.arm(StubFault::AnswerInstead(String::new()));
    let error = client.read_register(0).unwrap_err();
    insta::assert_snapshot!(error, @"the stub does not know `p0`; flipsim needs the gdb stub of QEMU 7.1 or newer");
    assert!(client.read_register(0).is_ok(), "an empty answer is an answer, and the count is right");
}

#[test]
fn memory_is_read_and_written_where_it_is() {
    let stub = FakeStub::builder().spawn();
    let mut client = physical(&stub);
    client.write_memory(RAM + 0x10, &[1, 2, 3, 0xff]).unwrap();
    assert_eq!(client.read_memory(RAM + 0xf, 6).unwrap(), [0, 1, 2, 3, 0xff, 0]);
    assert_eq!(stub.ram()[0x10..0x14], [1, 2, 3, 0xff]);
    insta::assert_snapshot!(stub.log().join("\n"), @"
    M40000010,4:010203ff
    m4000000f,6
    ");
}

#[test]
fn reads_above_half_a_packet_are_cut_into_pieces() {
    let stub =
        FakeStub::builder().ram(0x5000_0000, (0..=255).cycle().take(0x1801).collect::<Vec<u8>>()).spawn();
    let mut client = physical(&stub);
    let bytes = client.read_memory(0x5000_0000, 0x1801).unwrap();
    assert_eq!(bytes, stub.guest().ram[1].1);
    assert_eq!(stub.log(), ["m50000000,800", "m50000800,800", "m50001000,800", "m50001800,1"]);
}

#[test]
fn a_stub_refuses_more_than_half_a_packet_in_one_read() {
    // What the client avoids, asked of the fake without it.
    let stub = FakeStub::builder().spawn();
    let mut client = physical(&stub);
    let error = client.link.ask(|packet| {
        packet.text("m40000000,801");
    });
    insta::assert_snapshot!(error.unwrap_err(), @"the stub refused `m40000000,801` with E22: it does not take such an argument, or not so much data in one packet");
}

#[test]
fn writes_are_cut_so_that_no_packet_overruns_the_stubs_line() {
    let stub = FakeStub::builder().spawn();
    let mut client = physical(&stub);
    let bytes: Vec<u8> = (0..10_000u32).map(|at| (at * 7) as u8).collect();
    client.write_memory(RAM, &bytes).unwrap();
    assert_eq!(stub.ram()[..bytes.len()], bytes);
    assert!(stub.log().iter().all(|packet| packet.len() < 0x1000 - 4));
    assert!(stub.log().len() <= 6);
}

#[test]
fn a_small_packet_size_is_honoured() {
    let stub = FakeStub::builder().packet_size(0x200).spawn();
    let mut client = physical(&stub);
    let bytes: Vec<u8> = (0..2000u32).map(|at| (at * 3) as u8).collect();
    client.write_memory(RAM, &bytes).unwrap();
    assert_eq!(client.read_memory(RAM, bytes.len()).unwrap(), bytes);
    assert!(stub.log().iter().all(|packet| packet.len() < 0x200));
    assert_eq!(client.registers().len(), 9, "the description came in small pieces");
}

#[test]
fn nothing_is_sent_for_an_empty_access() {
    let stub = FakeStub::builder().spawn();
    let mut client = physical(&stub);
    assert_eq!(client.read_memory(RAM, 0).unwrap(), b"");
    client.write_memory(RAM, &[]).unwrap();
    assert_eq!(stub.log().len(), 0);
}

#[test]
fn the_last_address_of_all_wraps_instead_of_panicking() {
    let stub = FakeStub::builder().spawn();
    let mut client = physical(&stub);
    assert_eq!(client.read_memory(u64::MAX, 0x900).unwrap().len(), 0x900);
}

#[test]
fn physical_mode_makes_addresses_physical_and_is_checked() {
    let stub = FakeStub::builder().virtual_offset(0xffff_8000_0000_0000).spawn();
    let mut client = connect(&stub);
    client.write_memory(0xffff_8000_0000_0000 + RAM, &[7]).unwrap();
    assert!(matches!(client.read_memory(RAM, 1), Err(GdbError::Refused { code: 0x14, .. })));
    client.set_physical_memory(true).unwrap();
    assert_eq!(client.read_memory(RAM, 1).unwrap(), [7]);
    assert!(stub.physical_mode() && client.physical_memory());
    client.set_physical_memory(false).unwrap();
    assert!(!stub.physical_mode() && !client.physical_memory());
}

#[test]
fn setting_the_mode_that_is_set_sends_nothing() {
    let stub = FakeStub::builder().spawn();
    let mut client = physical(&stub);
    client.set_physical_memory(true).unwrap();
    assert_eq!(stub.log().len(), 0);
}

#[test]
fn a_mode_that_was_not_switched_is_an_error() {
    let stub = FakeStub::builder().spawn();
    let mut client = connect(&stub);
    stub.arm(StubFault::AnswerInstead("OK".to_owned()));
    assert!(matches!(client.set_physical_memory(true), Err(GdbError::PhysicalMode)));
    assert!(!client.physical_memory());
}

#[test]
fn a_physical_mode_left_on_by_another_client_is_turned_off_at_connection() {
    let stub = FakeStub::builder().left_in_physical_mode().spawn();
    let client = connect(&stub);
    assert!(!stub.physical_mode() && !client.physical_memory());
}

#[test]
fn reading_where_no_memory_is_works_physically_and_fails_virtually() {
    let stub = FakeStub::builder().spawn();
    let mut client = connect(&stub);
    let error = client.read_memory(0x1234, 4).unwrap_err();
    insta::assert_snapshot!(error, @"the stub refused `m1234,4` with E14: nothing is mapped at that address, or there is no such register");
    client.set_physical_memory(true).unwrap();
    assert_eq!(client.read_memory(0x1234, 4).unwrap(), [0; 4]);
}

#[test]
fn a_write_to_a_device_reaches_it() {
    let stub = FakeStub::builder().spawn();
    let mut client = physical(&stub);
    client.write_memory(0x0900_0000, b"A").unwrap();
    assert_eq!(stub.guest().mmio_writes, [(0x0900_0000, b"A".to_vec())]);
}

#[test]
fn a_write_that_the_stub_drops_shows_only_when_it_is_read_back() {
    let stub = FakeStub::builder().fault(StubFault::DropWrites(RAM..RAM + 0x100)).spawn();
    let mut client = physical(&stub);
    client.write_memory(RAM + 8, &[1]).unwrap();
    assert_eq!(client.read_memory(RAM + 8, 1).unwrap(), [0]);
    client.write_memory(RAM + 0x100, &[1]).unwrap();
    assert_eq!(client.read_memory(RAM + 0x100, 1).unwrap(), [1]);
}

#[test]
fn a_write_and_its_check_travel_together() {
    let stub = FakeStub::builder().fault(StubFault::DropWrites(RAM..RAM + 1)).spawn();
    let mut client = physical(&stub);
    let mut back = [0; 2];
    client.write_memory_read_back(RAM + 1, &[7, 8], &mut back).unwrap();
    assert_eq!(back, [7, 8]);
    insta::assert_snapshot!(client.link.sending.escape_ascii(), @"$m40000001,2#50");
    assert_eq!(stub.log(), ["M40000001,2:0708", "m40000001,2"]);
    client.write_memory_read_back(RAM, &[1, 2], &mut back).unwrap();
    assert_eq!(back, [0, 7], "the stub has dropped it");
    let (long, mut back) = ([5; 5000], [0; 5000]);
    client.write_memory_read_back(RAM + 2, &long, &mut back).unwrap();
    assert_eq!(back, long);
}

#[test]
fn a_refused_write_leaves_no_answer_behind() {
    let stub = FakeStub::builder().spawn();
    let mut client = connect(&stub);
    for fault in [StubFault::StopReplyBefore(2), StubFault::StopReplyAfter(2), StubFault::SplitEveryByte] {
        stub.arm(fault);
        let error = client.write_memory_read_back(0x1234, &[1], &mut [0]).unwrap_err();
        assert!(matches!(&error, GdbError::Refused { code: 0x14, .. }), "{error}");
        assert!(client.write_memory_read_back(RAM, &[1], &mut [0]).is_ok());
    }
}

#[test]
fn a_damaged_answer_of_two_is_an_error_because_it_is_not_known_which() {
    let stub = FakeStub::builder().spawn();
    let mut client = physical(&stub);
    stub.arm(StubFault::Damage(1));
    let error = client.write_memory_read_back(RAM, &[1], &mut [0]).unwrap_err();
    assert!(matches!(error, GdbError::Damaged { .. }), "{error}");
    assert!(matches!(client.read_memory(RAM, 1), Err(GdbError::OutOfStep)));
    drop(client);
    let mut client = physical(&stub);
    stub.arm(StubFault::Reject(1));
    let error = client.write_memory_read_back(RAM, &[1], &mut [0]).unwrap_err();
    assert!(matches!(error, GdbError::Rejected { .. }), "{error}");
}

#[test]
fn registers_are_written_in_the_guests_byte_order() {
    let stub = FakeStub::builder().spawn();
    let mut client = connect(&stub);
    client.write_register(32, &0x4000_1234u64.to_le_bytes()).unwrap();
    assert_eq!(stub.log(), ["P20=3412004000000000"]);
    assert_eq!(client.read_register(32).unwrap(), 0x4000_1234u64.to_le_bytes());
}

#[test]
fn a_write_to_a_read_only_register_is_dropped_in_silence() {
    let stub = FakeStub::builder().spawn();
    let mut client = connect(&stub);
    client.write_register(70, &[0xff; 8]).unwrap();
    assert_eq!(client.read_register(70).unwrap(), 0x4123_4000u64.to_le_bytes());
}

#[test]
fn a_register_that_does_not_exist_is_refused() {
    let stub = FakeStub::builder().spawn();
    let mut client = connect(&stub);
    assert!(matches!(client.read_register(999), Err(GdbError::Refused { code: 0x14, .. })));
    assert!(client.read_register(0).is_ok());
}

#[test]
fn many_registers_are_asked_for_at_once_and_a_refusal_leaves_no_answer_behind() {
    let stub = FakeStub::builder().spawn();
    let mut client = connect(&stub);
    let all: Vec<u32> = client.registers().iter().map(|register| register.number).collect();
    let each: Vec<Vec<u8>> = all.iter().map(|number| client.read_register(*number).unwrap()).collect();
    let numbers: Vec<u32> = all.iter().copied().cycle().take(150).collect();
    stub.clear_log();
    for fault in [StubFault::StopReplyBefore(2), StubFault::StopReplyAfter(2), StubFault::SplitEveryByte] {
        stub.arm(fault);
        let values = client.read_registers(&numbers).unwrap();
        assert_eq!(values, each.iter().cloned().cycle().take(150).collect::<Vec<_>>());
    }
    let error = client.read_registers(&[0, 999, 1]).unwrap_err();
    assert!(matches!(&error, GdbError::Refused { code: 0x14, packet } if packet == "p3e7"), "{error}");
    assert_eq!(client.read_registers(&[all[1], all[0]]).unwrap(), [each[1].clone(), each[0].clone()]);
    assert!(client.read_registers(&[]).unwrap().is_empty());
    stub.arm(StubFault::Damage(1));
    let error = client.read_registers(&[0, 1]).unwrap_err();
    assert!(matches!(error, GdbError::Damaged { .. }), "{error}");
    assert!(matches!(client.read_register(0), Err(GdbError::OutOfStep)));
}

#[test]
fn a_flip_goes_its_whole_way() {
    let stub = FakeStub::builder().spawn();
    let mut client = physical(&stub);
    client.resume().unwrap();
    assert!(stub.is_running());
    assert_eq!(client.stop().unwrap(), StopReason::Paused);
    let before = client.read_memory(RAM + 5, 1).unwrap()[0];
    client.write_memory(RAM + 5, &[before ^ 0x10]).unwrap();
    assert_eq!(client.read_memory(RAM + 5, 1).unwrap(), [0x10]);
    client.resume().unwrap();
    assert!(stub.is_running());
    insta::assert_snapshot!(stub.log().join(" "), @"c m40000005,1 M40000005,1:10 m40000005,1 c");
}

#[test]
fn commands_to_a_running_guest_are_an_error_and_send_no_byte() {
    let stub = FakeStub::builder().spawn();
    let mut client = physical(&stub);
    client.resume().unwrap();
    assert!(matches!(client.read_memory(RAM, 1), Err(GdbError::Running)));
    assert!(matches!(client.write_memory(RAM, &[1]), Err(GdbError::Running)));
    assert!(matches!(client.read_register(0), Err(GdbError::Running)));
    assert!(matches!(client.write_register(0, &[0; 8]), Err(GdbError::Running)));
    assert!(matches!(client.set_physical_memory(false), Err(GdbError::Running)));
    assert!(matches!(client.step(), Err(GdbError::Running)));
    assert!(matches!(client.monitor("info status"), Err(GdbError::Running)));
    client.resume().unwrap();
    assert_eq!(client.wait_stop(Duration::from_millis(10)).unwrap(), None);
    assert!(stub.is_running(), "no byte went out");
    assert_eq!(stub.lost_bytes(), b"");
    client.stop().unwrap();
    assert!(client.read_memory(RAM, 1).is_ok());
}

#[test]
fn stopping_loses_no_more_than_the_bytes_of_the_stop_itself() {
    let stub = FakeStub::builder().spawn();
    let mut client = physical(&stub);
    for _ in 0..20 {
        client.resume().unwrap();
        client.stop().unwrap();
        assert_eq!(client.read_memory(RAM, 2).unwrap(), [0, 0]);
    }
    assert_eq!(stub.lost_bytes(), [b'+'; 20]);
}

#[test]
fn stopping_a_guest_that_stands_sends_nothing() {
    let stub = FakeStub::builder().spawn();
    let mut client = connect(&stub);
    client.stop().unwrap();
    assert_eq!((stub.log().len(), stub.lost_bytes().len()), (0, 0));
}

#[test]
fn a_guest_that_stopped_by_itself_is_stopped_once_only() {
    let stub = FakeStub::builder().spawn();
    let mut client = physical(&stub);
    client.resume().unwrap();
    stub.stop_guest(14);
    assert_eq!(client.stop().unwrap(), StopReason::Watchdog);
    assert_eq!(client.read_memory(RAM, 1).unwrap(), [0], "no second stop reply is in the way");
}

#[test]
fn an_unrequested_stop_reply_is_no_answer() {
    let stub = FakeStub::builder().spawn();
    let mut client = physical(&stub);
    client.write_memory(RAM, &[0xab]).unwrap();
    for fault in [StubFault::StopReplyBefore(2), StubFault::StopReplyAfter(2)] {
        stub.arm(fault);
        assert_eq!(client.read_memory(RAM, 1).unwrap(), [0xab]);
        assert_eq!(client.read_memory(RAM + 1, 1).unwrap(), [0], "later answers are not one too late");
    }
    assert_eq!(client.unasked_stops(), 3, "one more is that of the connection");
}

#[test]
fn a_stop_over_qmp_is_taken_in_before_the_next_command() {
    let stub = FakeStub::builder().spawn();
    let mut client = physical(&stub);
    client.resume().unwrap();
    stub.stop_guest(2);
    assert_eq!(client.read_memory(RAM, 1).unwrap(), [0]);
    assert_eq!(client.run_state().unwrap(), RunState::Stopped(StopReason::Paused));
}

#[test]
fn an_old_stop_reply_does_not_end_the_next_run() {
    let stub = FakeStub::builder().spawn();
    let mut client = connect(&stub);
    // Resumed and stopped beside the client: the stop reply lies unread when the client resumes.
    stub.resume_guest();
    stub.stop_guest(2);
    client.resume().unwrap();
    assert_eq!(client.wait_stop(Duration::from_millis(20)).unwrap(), None);
    assert!(stub.is_running());
}

#[test]
fn a_guest_resumed_over_qmp_is_stopped_although_the_stub_waits_for_an_ack() {
    let stub = FakeStub::builder().spawn();
    let mut client = connect(&stub);
    client.note_resumed().unwrap();
    stub.resume_guest();
    stub.stop_guest(2);
    client.note_resumed().unwrap();
    stub.resume_guest();
    // Its first stop reply was never acknowledged: a bare 0x03 would be thrown away.
    assert_eq!(client.stop().unwrap(), StopReason::Paused);
    assert!(!stub.is_running());
    assert!(client.read_register(0).is_ok());
}

#[test]
fn a_command_to_a_guest_that_runs_unknown_to_the_client_is_reported_as_dropped() {
    let stub = FakeStub::builder().spawn();
    let mut client = connect(&stub);
    assert!(client.read_register(0).is_ok());
    stub.resume_guest();
    hurry(&mut client);
    let error = client.read_register(0).unwrap_err();
    assert!(matches!(error, GdbError::Dropped { .. }), "{error}");
    assert!(!stub.is_running(), "the command has stopped the guest");
    assert!(matches!(client.read_register(0), Err(GdbError::OutOfStep)));
}

#[test]
fn a_noted_resume_keeps_the_client_from_sending() {
    let stub = FakeStub::builder().spawn();
    let mut client = connect(&stub);
    client.note_resumed().unwrap();
    stub.resume_guest();
    assert!(matches!(client.read_register(0), Err(GdbError::Running)));
    assert!(stub.is_running());
    stub.stop_guest(3);
    assert_eq!(client.wait_stop(PATIENT.reply).unwrap(), Some(StopReason::Shutdown));
}

#[test]
fn a_wait_ends_with_the_guests_own_stop() {
    let stub = FakeStub::builder().on_resume(|_| AfterResume::Stops(5)).spawn();
    let mut client = connect(&stub);
    client.resume().unwrap();
    assert_eq!(client.wait_stop(PATIENT.reply).unwrap(), Some(StopReason::Debug));
    assert_eq!(client.unasked_stops(), 1, "that of the connection");
}

#[test]
fn the_guest_can_change_while_it_runs() {
    let stub = FakeStub::builder()
        .on_resume(|guest| {
            let flipped = guest.read(RAM, 1)[0];
            guest.write(RAM + 1, &[flipped.wrapping_mul(3)]);
            AfterResume::Stops(2)
        })
        .spawn();
    let mut client = physical(&stub);
    client.write_memory(RAM, &[5]).unwrap();
    client.resume().unwrap();
    client.wait_stop(PATIENT.reply).unwrap();
    assert_eq!(client.read_memory(RAM, 2).unwrap(), [5, 15]);
}

#[test]
fn a_step_moves_on_by_one_instruction() {
    let stub = FakeStub::builder().spawn();
    let mut client = connect(&stub);
    assert_eq!(client.step().unwrap(), StopReason::Debug);
    assert_eq!(client.read_register(32).unwrap(), 0x4000_0004u64.to_le_bytes());
}

#[test]
fn a_refused_step_is_no_stop() {
    let stub = FakeStub::builder().spawn();
    let mut client = connect(&stub);
    stub.arm(StubFault::AnswerInstead(String::new()));
    assert!(matches!(client.step(), Err(GdbError::Unsupported { .. })));
}

#[test]
fn monitor_output_is_gathered_until_ok() {
    let stub = FakeStub::builder().monitor("info status", &["VM status: ", "paused\r\n"]).spawn();
    let mut client = connect(&stub);
    assert_eq!(client.monitor("info status").unwrap(), "VM status: paused\r\n");
    assert_eq!(client.monitor("nope").unwrap(), "unknown command: 'nope'\r\n");
    insta::assert_snapshot!(stub.log()[0], @"qRcmd,696e666f20737461747573");
    assert!(client.read_register(0).is_ok(), "no output is taken for a later answer");
}

#[test]
fn many_pieces_of_monitor_output_need_no_acks_that_could_stop_the_guest() {
    let stub = FakeStub::builder().monitor("cont", &["a", "b", "c"]).spawn();
    let mut client = connect(&stub);
    assert_eq!(client.monitor("cont").unwrap(), "abc");
    client.note_resumed().unwrap();
    assert!(stub.is_running());
    assert_eq!(stub.lost_bytes(), b"");
    client.stop().unwrap();
}

#[test]
fn a_stop_reply_in_the_midst_of_monitor_output_is_kept_apart() {
    let stub = FakeStub::builder().monitor("stop", &["x"]).spawn();
    let mut client = connect(&stub);
    assert_eq!(client.monitor("stop").unwrap(), "x");
    assert!(client.read_register(0).is_ok());
}

#[test]
fn detaching_turns_physical_mode_off_and_lets_the_guest_run() {
    let stub = FakeStub::builder().spawn();
    physical(&stub).detach().unwrap();
    assert!(stub.is_running() && !stub.physical_mode());
    insta::assert_snapshot!(stub.log().join(" "), @"Qqemu.PhyMemMode:0 qqemu.PhyMemMode D");
}

#[test]
fn detaching_from_a_running_guest_leaves_it_running() {
    let stub = FakeStub::builder().spawn();
    let mut client = physical(&stub);
    client.resume().unwrap();
    client.detach().unwrap();
    assert!(stub.is_running() && !stub.physical_mode());
}

#[test]
fn detaching_works_after_a_debugger_made_the_stub_multiprocess() {
    let stub = FakeStub::builder().left_in_multiprocess().spawn();
    connect(&stub).detach().unwrap();
    assert_eq!(stub.log(), ["D", "D;1"]);
    assert!(stub.is_running());
}

#[test]
fn leaving_keeps_the_guest_stopped_with_physical_mode_off() {
    let stub = FakeStub::builder().spawn();
    let mut client = physical(&stub);
    client.resume().unwrap();
    client.leave_stopped().unwrap();
    assert!(!stub.is_running() && !stub.physical_mode());
    assert!(!stub.log().contains(&"D".to_owned()));
}

#[test]
fn dropping_the_client_sends_nothing() {
    let stub = FakeStub::builder().spawn();
    let mut client = physical(&stub);
    client.resume().unwrap();
    stub.clear_log();
    drop(client);
    assert!(stub.is_running() && stub.physical_mode());
    assert_eq!((stub.log().len(), stub.lost_bytes().len()), (0, 0));
}

#[test]
fn half_a_packet_of_a_client_that_died_does_not_harm_the_next() {
    let stub = FakeStub::builder().left_with_half_a_packet().spawn();
    let mut client = connect(&stub);
    assert_eq!(client.registers().len(), 9);
    assert!(client.read_register(0).is_ok());
    assert_eq!(stub.ram()[..4], [0; 4]);
}

#[test]
fn an_answer_with_a_wrong_checksum_is_asked_for_again() {
    let stub = FakeStub::builder().spawn();
    let mut client = physical(&stub);
    client.write_memory(RAM, &[0x5a]).unwrap();
    stub.arm(StubFault::Damage(2));
    assert_eq!(client.read_memory(RAM, 1).unwrap(), [0x5a]);
    assert_eq!(stub.log().len(), 2, "the command was run once");
}

#[test]
fn answers_damaged_again_and_again_end_in_an_error() {
    let stub = FakeStub::builder().spawn();
    let mut client = physical(&stub);
    stub.arm(StubFault::Damage(100));
    let error = client.read_memory(RAM, 1).unwrap_err();
    insta::assert_snapshot!(error, @"the answer to `m40000000,1` was damaged 4 times; is something else writing to this socket?");
    assert!(matches!(client.read_memory(RAM, 1), Err(GdbError::OutOfStep)));
}

#[test]
fn a_packet_that_the_stub_rejects_is_sent_again_a_few_times() {
    let stub = FakeStub::builder().spawn();
    let mut client = physical(&stub);
    stub.arm(StubFault::Reject(2));
    assert_eq!(client.read_memory(RAM, 1).unwrap(), [0]);
    stub.arm(StubFault::Reject(100));
    assert!(matches!(client.read_memory(RAM, 1), Err(GdbError::Rejected { attempts: 4, .. })));
}

#[test]
fn answers_may_come_byte_by_byte() {
    let stub = FakeStub::builder().fault(StubFault::SplitEveryByte).monitor("x", &["y"]).spawn();
    let mut client = physical(&stub);
    client.write_memory(RAM, &[9; 100]).unwrap();
    assert_eq!(client.read_memory(RAM, 100).unwrap(), [9; 100]);
    assert_eq!(client.monitor("x").unwrap(), "y");
    client.resume().unwrap();
    assert_eq!(client.stop().unwrap(), StopReason::Paused);
}

#[test]
fn bytes_that_are_no_packet_are_passed_over() {
    let stub = FakeStub::builder().spawn();
    let mut client = physical(&stub);
    stub.arm(StubFault::Garbage(b"\r\n\x00%Stop:T05#99\xff".to_vec()));
    assert_eq!(client.read_memory(RAM, 1).unwrap(), [0]);
}

#[test]
fn silence_ends_at_the_time_out_and_ends_the_connection() {
    let stub = FakeStub::builder().spawn();
    let mut client = physical(&stub);
    client.write_memory(RAM, &[0x77]).unwrap();
    stub.arm(StubFault::SilentAfter(1));
    assert_eq!(client.read_memory(RAM, 1).unwrap(), [0x77]);
    hurry(&mut client);
    let start = Instant::now();
    let error = client.read_memory(RAM, 1).unwrap_err();
    assert!(start.elapsed() >= QUICK && start.elapsed() < QUICK * 20);
    insta::assert_snapshot!(error, @"no answer to `m40000000,1` within 120ms; QEMU is stuck or the host overloaded, so connect again");
    let error = client.write_memory(RAM, &[1]).unwrap_err();
    insta::assert_snapshot!(error, @"this connection lost count of its answers after an earlier error; connect again");
}

#[test]
fn a_stub_that_serves_another_client_is_reported_as_such() {
    let stub = FakeStub::builder().spawn();
    let _first = connect(&stub);
    let quick = Timeouts { reply: QUICK, ..PATIENT };
    let error = GdbClient::connect(&stub.endpoint(), quick).unwrap_err();
    assert!(matches!(error, GdbError::NoAnswer { .. }), "{error}");
    assert!(error.to_string().contains("one client at a time"));
}

#[test]
fn the_next_client_is_served_when_the_first_has_gone() {
    let stub = FakeStub::builder().spawn();
    drop(connect(&stub));
    assert!(connect(&stub).read_register(0).is_ok());
}

#[test]
fn a_qemu_that_dies_in_the_midst_of_an_answer_is_reported_as_gone() {
    let stub = FakeStub::builder().spawn();
    let mut client = physical(&stub);
    stub.arm(StubFault::DieAfter(2));
    client.read_memory(RAM, 1).unwrap();
    client.write_memory(RAM, &[1]).unwrap();
    let error = client.read_memory(RAM, 1).unwrap_err();
    assert!(matches!(error, GdbError::Closed { .. }), "{error}");
    assert!(error.to_string().contains("see its log"));
    assert!(client.stop().is_err());
}

#[test]
fn a_qemu_that_dies_while_the_guest_runs_ends_the_wait() {
    let stub = FakeStub::builder().on_resume(|_| AfterResume::Exits(1)).spawn();
    let mut client = connect(&stub);
    client.resume().unwrap();
    let error = client.wait_stop(PATIENT.reply).unwrap_err();
    insta::assert_snapshot!(error, @"QEMU ended with status 1; start the guest again");
    assert!(matches!(client.read_register(0), Err(GdbError::Exited(StopReason::Exited(1)))));
    assert!(matches!(client.stop(), Err(GdbError::Exited(_))));
}

#[test]
fn a_stub_that_is_gone_before_the_connection_asks_whether_the_guest_runs() {
    let stub = FakeStub::builder().spawn();
    let endpoint = stub.endpoint();
    drop(stub);
    let error = GdbClient::connect(&endpoint, PATIENT).unwrap_err();
    assert!(error.to_string().contains("is the guest running"), "{error}");
}

#[test]
fn an_answer_of_the_wrong_kind_makes_no_sense_and_says_so() {
    let stub = FakeStub::builder().spawn();
    let mut client = physical(&stub);
    for answer in ["0", "zz", "000000", "OK"] {
        stub.arm(StubFault::AnswerInstead(answer.to_owned()));
        let error = client.read_memory(RAM, 2).unwrap_err();
        assert!(matches!(error, GdbError::Nonsense { .. }), "{answer}: {error}");
    }
    stub.arm(StubFault::AnswerInstead("0011".to_owned()));
    assert!(matches!(client.write_memory(RAM, &[1]), Err(GdbError::Nonsense { .. })));
    assert_eq!(client.read_memory(RAM, 1).unwrap(), [0], "each question had its answer all the same");
}

#[test]
fn a_stub_that_offers_it_is_asked_to_do_without_acks() {
    let stub = FakeStub::builder().offer_no_ack().spawn();
    let mut client = physical(&stub);
    client.write_memory(RAM, &[3]).unwrap();
    assert_eq!(client.read_memory(RAM, 1).unwrap(), [3]);
    client.resume().unwrap();
    assert_eq!(client.stop().unwrap(), StopReason::Paused);
    assert_eq!(client.read_memory(RAM, 1).unwrap(), [3]);
}

#[test]
fn another_register_file_is_taken_as_it_is_described() {
    let rax = FakeRegister {
        name: "rax".to_owned(),
        number: 0,
        file: "i386-64bit".to_owned(),
        bytes: vec![1; 8],
        read_only: false,
    };
    let stub = FakeStub::builder().no_registers().register(rax).spawn();
    let mut client = connect(&stub);
    assert_eq!(client.registers().iter().map(|it| it.name.as_str()).collect::<Vec<_>>(), ["rax"]);
    assert_eq!(client.read_register(0).unwrap(), [1; 8]);
}

#[test]
fn stop_replies_name_the_state_of_qemu_behind_them() {
    for (packet, reason) in [
        ("S05", Some(StopReason::Debug)),
        ("T02thread:01;", Some(StopReason::Paused)),
        ("T03thread:p01.01;", Some(StopReason::Shutdown)),
        ("T18thread:01;", Some(StopReason::Migrated)),
        ("T17thread:01;", Some(StopReason::IoError)),
        ("T0ethread:01;", Some(StopReason::Watchdog)),
        ("T8fthread:01;", Some(StopReason::Signal(0x8f))),
        ("T05thread:01;watch:40000008;", Some(StopReason::Watchpoint(0x4000_0008))),
        ("T05thread:01;awatch:ff;", Some(StopReason::Watchpoint(0xff))),
        ("W00", Some(StopReason::Exited(0))),
        ("X09", Some(StopReason::Killed(9))),
        ("", None),
        ("S", None),
        ("S0", None),
        ("Szz", None),
        ("OK", None),
        ("E14", None),
        ("00ff", None),
    ] {
        assert_eq!(StopReason::parse(packet.as_bytes()), reason, "{packet}");
    }
}

#[test]
fn one_packet_is_one_write_with_the_ack_before_it() {
    let stub = FakeStub::builder().spawn();
    let mut client = physical(&stub);
    client.read_memory(RAM, 1).unwrap();
    client.write_memory(RAM, &[0x2a]).unwrap();
    insta::assert_snapshot!(client.link.sending.escape_ascii(), @"+$M40000000,1:2a#fb");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn memory_survives_any_cut_and_any_pieces(
        offset in 0..0x100u64,
        bytes in prop::collection::vec(any::<u8>(), 1..3000),
        packet_size in prop::sample::select(vec![0x190usize, 0x400, 0x1000]),
    ) {
        let stub = FakeStub::builder().packet_size(packet_size).spawn();
        let mut client = physical(&stub);
        client.write_memory(RAM + offset, &bytes).unwrap();
        prop_assert_eq!(client.read_memory(RAM + offset, bytes.len()).unwrap(), bytes);
    }

    #[test]
    fn no_answer_makes_a_stop_reply_out_of_nothing_or_panics(packet in prop::collection::vec(any::<u8>(), 0..20)) {
        if StopReason::parse(&packet).is_some() {
            prop_assert!(b"STWX".contains(&packet[0]));
        }
    }
}
