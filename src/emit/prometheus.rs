//! Cards as Prometheus reads them: its text format, version 0.0.4.

use crate::telemetry::{Panel, Reason, Sample};

/// The type of a body in this format.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A metric: its name, its type, what it is. docs/MONITOR.md has the same list.
pub struct Metric {
    pub name: &'static str,
    kind: &'static str,
    help: &'static str,
    samples: fn(&Panel) -> Vec<(Labels, f64)>,
}

/// Labels besides the device's.
type Labels = Vec<(&'static str, String)>;

const fn gauge(name: &'static str, help: &'static str, samples: fn(&Panel) -> Vec<(Labels, f64)>) -> Metric {
    Metric { name, kind: "gauge", help, samples }
}

/// The metrics of a card.
pub const METRICS: [Metric; 15] = [
    gauge("gpu_up", "Whether the card can be read.", |panel| plain(Some(f64::from(panel.is_up())))),
    gauge("gpu_memory_used_bytes", "Device memory in use.", |panel| {
        now(panel, |now| Some(now.memory?.used_bytes as f64))
    }),
    gauge("gpu_memory_total_bytes", "Total device memory.", |panel| {
        now(panel, |now| Some(now.memory?.total_bytes as f64))
    }),
    gauge("gpu_utilization_percent", "Share of the time in which a kernel ran.", |panel| {
        now(panel, |now| Some(f64::from(now.load?.gpu_percent)))
    }),
    gauge(
        "gpu_memory_utilization_percent",
        "Share of the time in which device memory was read or written.",
        |panel| now(panel, |now| Some(f64::from(now.load?.memory_percent))),
    ),
    gauge("gpu_temperature_celsius", "Temperature of the chip.", |panel| {
        now(panel, |now| now.temperature_celsius.map(f64::from))
    }),
    gauge("gpu_clock_sm_hertz", "Clock of the multiprocessors.", |panel| {
        now(panel, |now| Some(f64::from(now.clocks?.sm_mhz) * 1e6))
    }),
    gauge("gpu_clock_memory_hertz", "Clock of the device memory.", |panel| {
        now(panel, |now| Some(f64::from(now.clocks?.memory_mhz?) * 1e6))
    }),
    gauge("gpu_power_watts", "Power that the card draws.", |panel| now(panel, |now| Some(now.power?.watts))),
    gauge("gpu_power_limit_watts", "Power limit of the card.", |panel| {
        now(panel, |now| now.power?.limit_watts)
    }),
    Metric {
        name: "gpu_energy_joules_total",
        kind: "counter",
        help: "Energy that the card has used since its driver was loaded.",
        samples: |panel| now(panel, |now| now.energy_joules),
    },
    gauge("gpu_throttle_reason", "Whether the clocks are reduced, by reason.", |panel| {
        let Some(reasons) = panel.now.as_ref().and_then(|now| now.reasons.as_ref()) else {
            return Vec::new();
        };
        let sample = |reason: Reason| {
            (vec![("reason", reason.name().to_owned())], f64::from(reasons.contains(&reason)))
        };
        Reason::ALL.into_iter().map(sample).collect()
    }),
    gauge(
        "gpu_process_memory_used_bytes",
        "Device memory of a process that computes on the card.",
        |panel| {
            let processes = panel.now.iter().flat_map(|now| now.processes.iter().flatten());
            processes
                .filter_map(|process| {
                    let labels = vec![
                        ("pid", process.pid.to_string()),
                        ("name", process.name.clone().unwrap_or_default()),
                    ];
                    Some((labels, process.bytes? as f64))
                })
                .collect()
        },
    ),
    gauge("gpu_info", "Identity of the card; always 1.", |panel| {
        let card = &panel.card;
        let labels = [("name", &card.name), ("uuid", &card.uuid), ("driver", &card.driver)];
        vec![(labels.map(|(label, value)| (label, value.clone())).to_vec(), 1.0)]
    }),
    gauge("gpu_clock_sm_max_hertz", "Highest clock of the multiprocessors.", |panel| {
        plain(panel.card.most_sm_mhz.map(|clock| f64::from(clock) * 1e6))
    }),
];

/// The metrics of the monitor itself: name, type, what it is.
pub const OWN: [(&str, &str, &str); 2] = [
    ("autotune_monitor_up", "gauge", "Whether every watched card can be read."),
    ("autotune_monitor_read_errors_total", "counter", "Failed readings of a card."),
];

fn plain(value: Option<f64>) -> Vec<(Labels, f64)> {
    value.map(|value| (Vec::new(), value)).into_iter().collect()
}

fn now(panel: &Panel, read: fn(&Sample) -> Option<f64>) -> Vec<(Labels, f64)> {
    plain(panel.now.as_ref().and_then(read))
}

/// All metrics of all cards. What isn't known has no sample, and what has no sample at all no heading.
pub fn exposition(panels: &[Panel]) -> String {
    let mut text = String::new();
    for metric in &METRICS {
        let mut samples = String::new();
        for panel in panels {
            for (labels, value) in (metric.samples)(panel) {
                let device = ("device", panel.card.device.clone());
                let labels: Vec<String> = std::iter::once(device)
                    .chain(labels)
                    .map(|(label, value)| format!("{label}=\"{}\"", escaped(&value)))
                    .collect();
                samples.push_str(&format!("{}{{{}}} {value}\n", metric.name, labels.join(",")));
            }
        }
        if !samples.is_empty() {
            text.push_str(&heading(metric.name, metric.kind, metric.help));
            text.push_str(&samples);
        }
    }
    let up = f64::from(!panels.is_empty() && panels.iter().all(Panel::is_up));
    let errors: u64 = panels.iter().map(|panel| panel.errors).sum();
    for ((name, kind, help), value) in OWN.into_iter().zip([up, errors as f64]) {
        text.push_str(&heading(name, kind, help));
        text.push_str(&format!("{name} {value}\n"));
    }
    text
}

fn heading(name: &str, kind: &str, help: &str) -> String {
    format!("# HELP {name} {help}\n# TYPE {name} {kind}\n")
}

fn escaped(value: &str) -> String {
    value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::{Card, Clocks, Load, Memory, Power, Process};

    fn panel() -> Panel {
        Panel {
            card: Card {
                device: "cuda:0".into(),
                name: "A \"card\" of \\ our own\n".into(),
                uuid: "GPU-1".into(),
                driver: "580.65".into(),
                most_sm_mhz: Some(2100),
            },
            now: Some(Sample {
                memory: Some(Memory { used_bytes: 12_884_901_888, total_bytes: 25_769_803_776 }),
                load: Some(Load { gpu_percent: 87, memory_percent: 43 }),
                temperature_celsius: Some(71),
                clocks: Some(Clocks { sm_mhz: 1695, memory_mhz: None }),
                reasons: Some(vec![Reason::PowerCap]),
                power: Some(Power { watts: 342.5, limit_watts: Some(350.0) }),
                energy_joules: Some(13_500.25),
                processes: Some(vec![
                    Process { pid: 7, bytes: Some(1024), name: Some("a\"b".into()) },
                    Process { pid: 8, bytes: None, name: None },
                ]),
                ..Sample::default()
            }),
            errors: 3,
            ..Panel::default()
        }
    }

    #[test]
    fn every_value_has_its_name_its_labels_and_its_heading() {
        let text = exposition(&[panel()]);
        for line in [
            "gpu_up{device=\"cuda:0\"} 1",
            "gpu_memory_used_bytes{device=\"cuda:0\"} 12884901888",
            "gpu_memory_total_bytes{device=\"cuda:0\"} 25769803776",
            "gpu_utilization_percent{device=\"cuda:0\"} 87",
            "gpu_memory_utilization_percent{device=\"cuda:0\"} 43",
            "gpu_temperature_celsius{device=\"cuda:0\"} 71",
            "gpu_clock_sm_hertz{device=\"cuda:0\"} 1695000000",
            "gpu_power_watts{device=\"cuda:0\"} 342.5",
            "gpu_power_limit_watts{device=\"cuda:0\"} 350",
            "gpu_energy_joules_total{device=\"cuda:0\"} 13500.25",
            "gpu_throttle_reason{device=\"cuda:0\",reason=\"power-cap\"} 1",
            "gpu_throttle_reason{device=\"cuda:0\",reason=\"thermal-software\"} 0",
            "gpu_process_memory_used_bytes{device=\"cuda:0\",pid=\"7\",name=\"a\\\"b\"} 1024",
            "gpu_info{device=\"cuda:0\",name=\"A \\\"card\\\" of \\\\ our own\\n\",uuid=\"GPU-1\",driver=\"580.65\"} 1",
            "autotune_monitor_up 1",
            "autotune_monitor_read_errors_total 3",
            "# TYPE gpu_energy_joules_total counter",
        ] {
            assert!(text.lines().any(|given| given == line), "no {line} in:\n{text}");
        }
        assert!(!text.contains("gpu_clock_memory_hertz"), "what isn't known isn't said");
        assert!(text.ends_with('\n') && !text.contains("\n\n"));
        // A heading stands once, before the samples of its metric.
        for name in METRICS.iter().map(|metric| metric.name).chain(OWN.map(|(name, ..)| name)) {
            let headings = text.matches(&format!("# TYPE {name} ")).count();
            assert!(headings <= 1 && headings == text.matches(&format!("# HELP {name} ")).count(), "{name}");
        }
    }

    #[test]
    fn a_card_that_is_away_is_down_and_has_no_old_figures() {
        let other = Panel { card: Card { device: "cuda:1".into(), ..Card::default() }, ..panel() };
        let text = exposition(&[panel().away("gone"), other]);
        assert!(text.contains("gpu_up{device=\"cuda:0\"} 0\ngpu_up{device=\"cuda:1\"} 1\n"), "{text}");
        assert!(
            text.contains("autotune_monitor_up 0\n") && !text.contains("bytes{device=\"cuda:0\""),
            "{text}"
        );
        assert!(exposition(&[]).contains("autotune_monitor_up 0\n"));
    }
}
