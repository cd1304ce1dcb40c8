//! Bytes as a script of RTP packets and passing time, for the assembler in both modes.
//!
//! The module is taken in by path, so that neither WebRTC nor the codecs need building for it.

#![no_main]

use std::time::{Duration, Instant};

use bytes::Bytes;
use cv_core::whip::Mode;
use libfuzzer_sys::fuzz_target;

#[path = "../../receiver/src/transport/rtp/mod.rs"]
#[allow(dead_code, unreachable_pub, unused_imports)]
mod rtp;

use rtp::{Assembler, Event, Packet};

fuzz_target!(|script: &[u8]| {
    for mode in Mode::ALL {
        play(script, mode);
    }
});

/// Each packet is written as: sequence step, flags and time step, milliseconds since the last, length, payload.
fn play(mut script: &[u8], mode: Mode) {
    let mut assembler = Assembler::new(mode);
    let (mut now, mut sequence, mut timestamp) = (Instant::now(), 65_500u16, u32::MAX - 9000);
    while let Some((&[step, flags, pause, len], rest)) = script.split_first_chunk() {
        let (payload, rest) = rest.split_at(rest.len().min(len.into()));
        script = rest;
        // Large steps both ways, and mostly small ones.
        sequence = sequence.wrapping_add_signed(if flags & 0x40 == 0 {
            (step as i8).into()
        } else {
            i16::from(step as i8) << 8
        });
        timestamp = timestamp.wrapping_add(u32::from(flags & 0x0f) << (flags >> 2 & 0x1c));
        now += Duration::from_millis(pause.into());
        let payload = Bytes::copy_from_slice(payload);
        let abs_capture_time = (step == 0).then_some(7);
        assembler.push(Packet {
            sequence,
            timestamp,
            marker: flags & 0x80 != 0,
            payload,
            arrived: now,
            abs_capture_time,
        });
        while let Some(event) = assembler.pull(now) {
            check(event);
        }
        assert!(assembler.due(now).len() <= 2048);
        assert!(assembler.next_wakeup().is_none_or(|wakeup| wakeup > now), "a busy loop");
    }
    let counters = assembler.counters();
    assert!(counters.useless <= counters.received && counters.recovered <= counters.received);
}

fn check(event: Event) {
    match event {
        Event::Picture(picture) => {
            assert!(picture.first_arrived <= picture.last_arrived);
            assert!(picture.data.starts_with(&cv_core::annex_b::START_CODE));
        }
        Event::Lost { pictures_at_least } => assert!(pictures_at_least > 0),
        Event::Broken => {}
    }
}
