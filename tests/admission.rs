//! Who is let in: nobody whom the machine cannot carry beside those it carries.

#![allow(clippy::unwrap_used, reason = "a test that meets something else has failed")]

use cv_tests::{Receiver, Sender, lines};

/// Enough of them to fill the share, however slow or fast the machine.
const MOST: usize = 16;

/// Ten pictures a second with ten milliseconds of work each: a tenth of a processor.
fn heavy(receiver: &Receiver, session: &str, mode: &str) -> Sender {
    let source = ["--pattern", "bars:size=320x240,fps=10", "--duration", "600", "--output", "json"];
    let asked = ["--analyze", "busy:ms=10", "--mode", mode, "--session", session];
    Sender::start(&receiver.url(), &[&source[..], &asked].concat())
}

#[test]
fn a_live_sender_too_many_is_told_to_come_back_and_the_others_stay_whole() {
    let cores = std::thread::available_parallelism().unwrap().get() as f64;
    // A third of a processor.
    let share = (0.33 / cores).to_string();
    let receiver = Receiver::start(&["--max-load", &share]);
    let mut carried = Vec::new();
    let refused = loop {
        assert!(carried.len() < MOST, "nobody was refused");
        let sender = heavy(&receiver, &format!("live-{}", carried.len()), "live");
        if !sender.reaches_frame(5) {
            break sender.finish();
        }
        carried.push(sender);
    };
    assert!(carried.len() >= 2, "{} were carried:\n{}", carried.len(), refused.stderr);
    let refused = refused.expect(1).says("503").says("--max-load").says("every-frame");
    assert!(refused.lines.is_empty());
    let scrape = receiver.scrape();
    assert!(scrape.value("cv_receiver_offers_refused_total{short_of=\"load\"}") >= 1.0);
    assert!(scrape.value("cv_receiver_load_cores") > 0.05);
    // One that slows down instead is welcome, and so is one that takes its own session over.
    let patient = heavy(&receiver, "patient", "every-frame");
    patient.wait_for_frame(10);
    let again = heavy(&receiver, "live-0", "live");
    again.wait_for_frame(10);
    carried.remove(0).finish().expect(1).says("took this session over");
    for sender in carried.into_iter().chain([again, patient]) {
        sender.wait_for_frame(20);
        sender.program.signal("INT");
        let sent = sender.finish().expect(0);
        let results = lines::of_type(&sent.lines, "result").len();
        let numbered = lines::accounted(&sent.lines).len();
        // A machine that does other things, too, may hiccup; a receiver that took too many would lose half of them.
        assert!(results * 10 >= numbered * 9, "{results} of {numbered}: {:?}", lines::of_type(&sent.lines, "gap"));
    }
    // Their seats are free again.
    let next = heavy(&receiver, "next", "live");
    next.wait_for_frame(1);
}

#[test]
fn without_a_limit_everybody_is_let_in() {
    let receiver = Receiver::start(&["--max-load", "0"]);
    let senders: Vec<_> = (0..3).map(|number| heavy(&receiver, &format!("free-{number}"), "live")).collect();
    for sender in &senders {
        sender.wait_for_frame(3);
    }
    assert_eq!(cv_tests::http::get(receiver.ops_address(), "/readyz").status, 200);
    assert!(!receiver.scrape().names().contains("cv_receiver_load_limit_cores"));
}
