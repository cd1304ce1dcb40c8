//! The metrics as OpenMetrics text, which Prometheus and its relatives read.

use std::fmt::Error;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeGaugeValue, NoLabelSet, text},
    metrics::MetricType,
    registry::Registry,
};

use crate::{
    metrics::{Counter, Histogram, METRICS},
    process::Process,
};

/// What is asked of others for each scrape.
#[derive(Debug)]
pub(super) struct Asked {
    /// Sessions that are remembered, with and without a sender.
    pub(super) sessions: usize,
    /// Messages that wait for session tasks.
    pub(super) session_messages: usize,
    /// Cores that live sessions use, and that they may.
    pub(super) load: (f64, Option<f64>),
    /// Whether a new sender would be let in.
    pub(super) ready: bool,
    /// Connections that the public HTTP server accepted.
    pub(super) accepted: u64,
    /// Those that it turned away or closed, by reason.
    pub(super) turned_away: [(&'static str, u64); 9],
}

/// All metrics as text.
pub(super) fn render(asked: Asked) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(asked));
    let mut text = String::with_capacity(32 << 10);
    text::encode(&mut text, &registry).expect("a string takes any text");
    text
}

impl Collector for Asked {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let mut page = Page(encoder);
        self.sessions(&mut page)?;
        pictures(&mut page)?;
        network(&mut page)?;
        http(&mut page)?;
        self.doors(&mut page)?;
        process(&mut page)
    }
}

impl Asked {
    fn doors(&self, page: &mut Page<'_>) -> Result<(), Error> {
        let mut accepted = page.0.encode_descriptor(
            "cv_receiver_http_connections",
            "Connections accepted",
            None,
            MetricType::Counter,
        )?;
        accepted.encode_counter::<NoLabelSet, _, u64>(&self.accepted, None)?;
        let help = "Connections turned away or closed by a limit";
        page.counters("cv_receiver_http_connections_closed", help, "reason", self.turned_away)
    }

    fn sessions(&self, page: &mut Page<'_>) -> Result<(), Error> {
        let metrics = &METRICS;
        let (connecting, connected) = (metrics.connecting.value().max(0), metrics.connected.value().max(0));
        page.gauges(
            "cv_receiver_sessions",
            "Sessions: with a sender, with one that is connecting, and all that are remembered",
            "state",
            [("active", connected), ("connecting", connecting), ("remembered", self.sessions as i64)],
        )?;
        page.counters("cv_receiver_connections_ended", "Connections that ended", "reason", metrics.ended.all())?;
        page.counters(
            "cv_receiver_offers_refused",
            "Live senders and others turned away for want of room",
            "short_of",
            metrics.refused_offers.all(),
        )?;
        page.gauge("cv_receiver_ready", "Whether a new live sender would be let in", i64::from(self.ready))?;
        page.gauge("cv_receiver_load_cores", "Processors that live sessions use", self.load.0)?;
        if let Some(limit) = self.load.1 {
            page.gauge("cv_receiver_load_limit_cores", "Processors that live sessions may use", limit)?;
        }
        let queues = &metrics.queues;
        page.gauges(
            "cv_receiver_queue_items",
            "What waits: access units, pictures, messages to sessions, lines for readers and for stdout",
            "queue",
            [
                ("decoder", queues.decoder.value().max(0)),
                ("analysis", queues.analysis.value().max(0)),
                ("session", self.session_messages as i64),
                ("readers", queues.readers.value().max(0)),
                ("stdout", queues.stdout.value().max(0)),
            ],
        )
    }
}

fn pictures(page: &mut Page<'_>) -> Result<(), Error> {
    let metrics = &METRICS;
    page.counters("cv_receiver_frames", "Pictures by what became of them", "fate", metrics.frames.fates())?;
    let missed = &metrics.missed_lines;
    page.counters(
        "cv_receiver_slow_reader_lines",
        "Result lines that a reader was too slow for",
        "reader",
        [("readers", missed.readers.value()), ("stdout", missed.stdout.value())],
    )?;
    page.histograms(
        "cv_receiver_stage_duration_seconds",
        "Where the time of a picture went; total is from capture to its result, by both machines' clocks",
        "stage",
        metrics.stages.all(),
    )
}

fn network(page: &mut Page<'_>) -> Result<(), Error> {
    let packets = &METRICS.packets;
    page.counters(
        "cv_receiver_rtp_packets",
        "RTP packets of pictures: received, lost for good, useless because late or twice, asked for again",
        "fate",
        [
            ("received", packets.received.value()),
            ("lost", packets.lost.value()),
            ("useless", packets.useless.value()),
            ("nacked", packets.nacked.value()),
        ],
    )?;
    let dropped = &METRICS.dropped_datagrams;
    page.counters(
        "cv_receiver_media_datagrams_dropped",
        "Datagrams at the media port from unknown addresses, refused, or more than a connection read",
        "cause",
        [
            ("unknown", dropped.unknown.value()),
            ("refused", dropped.refused.value()),
            ("overflow", dropped.overflow.value()),
            ("relay", dropped.relay.value()),
        ],
    )?;
    page.counter("cv_receiver_rtp_payload_bytes", "Bytes of pictures received", &packets.bytes)?;
    page.counter("cv_receiver_keyframe_requests", "Keyframes asked for (PLI)", &packets.plis)?;
    page.histograms(
        "cv_receiver_jitter_seconds",
        "How much earlier or later than due a live picture begins to arrive",
        "mode",
        [("live", &METRICS.jitter)],
    )
}

fn http(page: &mut Page<'_>) -> Result<(), Error> {
    let name = "cv_receiver_http_requests";
    let mut family = page.0.encode_descriptor(name, "Requests answered", None, MetricType::Counter)?;
    for (route, class, count) in METRICS.requests.answered() {
        let labels = [("route", route), ("status", class)];
        family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&count, None)?;
    }
    let refused: Vec<_> = METRICS.requests.refused().map(|(status, count)| (status.to_string(), count)).collect();
    let refused = refused.iter().map(|(status, count)| (status.as_str(), *count));
    page.counters("cv_receiver_http_refused", "Requests turned away, by exact status", "status", refused)
}

fn process(page: &mut Page<'_>) -> Result<(), Error> {
    let labels = [("version", env!("CARGO_PKG_VERSION")), ("target", std::env::consts::ARCH)];
    page.0
        .encode_descriptor("cv_receiver_build", "What is running", None, MetricType::Info)?
        .encode_info(&labels.to_vec())?;
    let process = Process::look();
    page.gauge("process_start_time_seconds", "Start of the process, since the epoch", Process::started())?;
    if let Some(cpu) = process.cpu {
        let name = "process_cpu_seconds";
        let mut metric = page.0.encode_descriptor(name, "Processor time", None, MetricType::Counter)?;
        metric.encode_counter::<NoLabelSet, _, u64>(&cpu.as_secs_f64(), None)?;
    }
    for (name, help, value) in [
        ("process_resident_memory_bytes", "Memory in use", process.resident_bytes),
        ("process_open_fds", "Open files and sockets", process.fds),
        ("process_max_fds", "Files and sockets that may be open", process.max_fds),
        ("process_threads", "Threads", process.threads),
    ] {
        if let Some(value) = value {
            page.gauge(name, help, i64::try_from(value).unwrap_or(i64::MAX))?;
        }
    }
    Ok(())
}

/// The text while it grows.
struct Page<'a>(DescriptorEncoder<'a>);

impl Page<'_> {
    fn counter(&mut self, name: &str, help: &str, counter: &Counter) -> Result<(), Error> {
        let mut metric = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        metric.encode_counter::<NoLabelSet, _, u64>(&counter.value(), None)
    }

    fn counters<'v>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (&'v str, u64)>,
    ) -> Result<(), Error> {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        for (value, count) in values {
            family.encode_family(&[(label, value)])?.encode_counter::<NoLabelSet, _, u64>(&count, None)?;
        }
        Ok(())
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl EncodeGaugeValue) -> Result<(), Error> {
        self.0.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)
    }

    fn gauges<'v>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (&'v str, i64)>,
    ) -> Result<(), Error> {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        for (value, count) in values {
            family.encode_family(&[(label, value)])?.encode_gauge(&count)?;
        }
        Ok(())
    }

    fn histograms<'v>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (&'v str, &'v Histogram)>,
    ) -> Result<(), Error> {
        let mut family = self.0.encode_descriptor(name, help, None, MetricType::Histogram)?;
        for (value, histogram) in values {
            let buckets = histogram.buckets();
            let count = buckets.iter().map(|(_, count)| count).sum();
            let labels = [(label, value)];
            family.encode_family(&labels)?.encode_histogram::<NoLabelSet>(histogram.sum(), count, &buckets, None)?;
        }
        Ok(())
    }
}
