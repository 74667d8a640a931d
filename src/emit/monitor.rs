//! Cards as a person watches them: a view that fits the terminal, a line, or a row of CSV.

use textwrap::core::display_width;

use crate::telemetry::{Panel, Process, Reason, Sample};
use crate::units::{Bytes, significant};

/// Where values begin, behind their names.
const VALUES: usize = 15;

/// What stands behind a bar: `12.1 GiB of 24.0 GiB`.
const BESIDE_BAR: usize = 24;

/// Processes that are shown of a card.
const MOST_PROCESSES: usize = 6;

/// The columns of a CSV file, a row for each card and sample. docs/MONITOR.md explains each.
pub const COLUMNS: [&str; 16] = [
    "time",
    "device",
    "name",
    "memory_used_bytes",
    "memory_total_bytes",
    "utilisation_percent",
    "memory_utilisation_percent",
    "temperature_celsius",
    "sm_clock_mhz",
    "memory_clock_mhz",
    "power_w",
    "power_limit_w",
    "energy_j",
    "throttle_reasons",
    "processes",
    "problem",
];

/// The lines of a view of all cards, none wider than `width` columns.
pub fn view(panels: &[Panel], width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for panel in panels {
        if !lines.is_empty() {
            lines.push(String::new());
        }
        lines.extend(card(panel, width));
    }
    lines.into_iter().map(|line| cut(&line, width)).collect()
}

fn card(panel: &Panel, width: usize) -> Vec<String> {
    let card = &panel.card;
    let mut lines = vec![format!("{} · {} · driver {}", card.device, card.name, card.driver)];
    let mut say = |name: &str, value: String| lines.push(format!("  {name:<13}{value}"));
    let Some(now) = &panel.now else {
        say("unavailable", panel.problem.clone().unwrap_or_else(|| "it can't be read".to_owned()));
        return lines;
    };
    let length = width.saturating_sub(VALUES + 2 + BESIDE_BAR).clamp(8, 64);
    if let Some(memory) = now.memory {
        let share = memory.used_bytes as f64 / memory.total_bytes.max(1) as f64;
        let (used, total) = (Bytes(memory.used_bytes), Bytes(memory.total_bytes));
        say("memory", format!("{}  {used} of {total}", bar(share, length)));
    }
    if let Some(load) = now.load {
        let share = f64::from(load.gpu_percent) / 100.0;
        let beside = format!("{}%, memory {}%", load.gpu_percent, load.memory_percent);
        say("utilisation", format!("{}  {beside}", bar(share, length)));
        say("history", spark(panel, length));
    }
    if let Some(celsius) = now.temperature_celsius {
        say("temperature", format!("{celsius} °C"));
    }
    if let Some(clocks) = now.clocks {
        let most = card.most_sm_mhz.map(|most| format!(" of {most}")).unwrap_or_default();
        let memory = clocks.memory_mhz.map(|clock| format!(", memory {clock} MHz")).unwrap_or_default();
        say("clocks", format!("{}{most} MHz{memory}", clocks.sm_mhz));
    }
    if let Some(power) = now.power {
        let limit = power.limit_watts.map(|limit| format!(" of {limit:.0}")).unwrap_or_default();
        let taken = now.energy_joules.zip(panel.first_energy).map(|(now, first)| now - first);
        let taken = taken.map(|joules| format!(", {} kJ since the start", significant(joules / 1e3)));
        say("power", format!("{:.0}{limit} W{}", power.watts, taken.unwrap_or_default()));
    }
    if let Some(reasons) = &now.reasons {
        say("slowed", slowed(reasons).unwrap_or_else(|| "no".to_owned()));
    }
    if let Some(processes) = &now.processes {
        let mut sorted: Vec<&Process> = processes.iter().collect();
        sorted.sort_by_key(|process| std::cmp::Reverse(process.bytes));
        for (place, process) in sorted.iter().take(MOST_PROCESSES).enumerate() {
            let name = process.name.as_deref().unwrap_or("–");
            let memory = process.bytes.map_or_else(|| "–".to_owned(), |bytes| Bytes(bytes).to_string());
            let title = if place == 0 { "processes" } else { "" };
            say(title, format!("{memory:>9}  {:>8}  {name}", process.pid));
        }
        match sorted.len().saturating_sub(MOST_PROCESSES) {
            0 if sorted.is_empty() => say("processes", "none visible".to_owned()),
            0 => {}
            more => say("", format!("and {more} more")),
        }
    }
    if !panel.absent.is_empty() {
        say("not reported", panel.absent.join(", "));
    }
    lines
}

/// Why the card's clocks are lower than they could be.
fn slowed(reasons: &[Reason]) -> Option<String> {
    let words: Vec<&str> = reasons.iter().map(|reason| reason.words()).collect();
    (!words.is_empty()).then(|| words.join(", "))
}

fn bar(share: f64, length: usize) -> String {
    let full = (share.clamp(0.0, 1.0) * length as f64).round() as usize;
    "█".repeat(full) + &"░".repeat(length - full)
}

/// The loads up to now, the latest at the right. What isn't known is a gap.
fn spark(panel: &Panel, length: usize) -> String {
    const STEPS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let skipped = panel.loads.len().saturating_sub(length);
    let step = |load: &Option<u32>| load.map_or(' ', |percent| STEPS[(percent.min(99) * 8 / 100) as usize]);
    let drawn: String = panel.loads.iter().skip(skipped).map(step).collect();
    format!("{drawn:>length$}")
}

/// No wider than `width` columns, with a mark where something is left out.
pub fn cut(line: &str, width: usize) -> String {
    if display_width(line) <= width {
        return line.to_owned();
    }
    let mut kept = String::new();
    let mut used = 0;
    for character in line.chars() {
        used += display_width(character.encode_utf8(&mut [0; 4]));
        if used + 1 > width {
            break;
        }
        kept.push(character);
    }
    if width > 0 {
        kept.push('…');
    }
    kept
}

/// A sample of a card in a line, for whatever isn't a terminal.
pub fn line(panel: &Panel, time: &str) -> String {
    let device = &panel.card.device;
    let Some(now) = &panel.now else {
        let why = panel.problem.as_deref().unwrap_or("it can't be read");
        return format!("{time} {device} unavailable: {why}");
    };
    let parts = [
        now.memory
            .map(|memory| format!("memory {} of {}", Bytes(memory.used_bytes), Bytes(memory.total_bytes))),
        now.load.map(|load| format!("utilisation {}%", load.gpu_percent)),
        now.temperature_celsius.map(|celsius| format!("{celsius} °C")),
        now.clocks.map(|clocks| format!("{} MHz", clocks.sm_mhz)),
        now.power.map(|power| format!("{:.0} W", power.watts)),
        now.reasons.as_deref().and_then(slowed),
    ];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    format!("{time} {device} {}", parts.join(", "))
}

/// The row of a card in a CSV file, as `COLUMNS` has it.
pub fn row(panel: &Panel, time: &str) -> [String; COLUMNS.len()] {
    let away = Sample::default();
    let now = panel.now.as_ref().unwrap_or(&away);
    fn text<T: ToString>(value: Option<T>) -> String {
        value.map(|value| value.to_string()).unwrap_or_default()
    }
    let process = |process: &Process| format!("{}:{}", process.pid, text(process.bytes));
    let reasons = now.reasons.iter().flatten().map(|reason| reason.name());
    [
        time.to_owned(),
        panel.card.device.clone(),
        panel.card.name.clone(),
        text(now.memory.map(|memory| memory.used_bytes)),
        text(now.memory.map(|memory| memory.total_bytes)),
        text(now.load.map(|load| load.gpu_percent)),
        text(now.load.map(|load| load.memory_percent)),
        text(now.temperature_celsius),
        text(now.clocks.map(|clocks| clocks.sm_mhz)),
        text(now.clocks.and_then(|clocks| clocks.memory_mhz)),
        text(now.power.map(|power| power.watts)),
        text(now.power.and_then(|power| power.limit_watts)),
        text(now.energy_joules),
        reasons.collect::<Vec<_>>().join(" "),
        now.processes.iter().flatten().map(process).collect::<Vec<_>>().join(" "),
        panel.problem.clone().unwrap_or_default(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::telemetry::{Card, Clocks, Load, Memory, Power};

    fn panel() -> Panel {
        let process =
            |pid, gib: u64, name: &str| Process { pid, bytes: Some(gib << 30), name: Some(name.into()) };
        Panel {
            card: Card {
                device: "cuda:0".into(),
                name: "NVIDIA GeForce RTX 3090 of a Name that somebody has Made very Long indeed".into(),
                uuid: "GPU-1".into(),
                driver: "580.65".into(),
                most_sm_mhz: Some(2100),
            },
            now: Some(Sample {
                memory: Some(Memory { used_bytes: 12 << 30, total_bytes: 24 << 30 }),
                load: Some(Load { gpu_percent: 87, memory_percent: 43 }),
                temperature_celsius: Some(71),
                clocks: Some(Clocks { sm_mhz: 1695, memory_mhz: Some(9501) }),
                reasons: Some(vec![Reason::ThermalSoftware, Reason::PowerCap]),
                power: Some(Power { watts: 342.4, limit_watts: Some(350.0) }),
                energy_joules: Some(13_500.0),
                processes: Some(vec![process(7, 1, &"写".repeat(80)), process(4242, 11, "python3")]),
                ..Sample::default()
            }),
            loads: (0..200).map(|step| (step % 7 != 0).then_some(step % 101)).collect(),
            first_energy: Some(1000.0),
            absent: vec!["utilisation of processes (this card doesn't report it)".into()],
            ..Panel::default()
        }
    }

    #[test]
    fn the_view_fits_whatever_the_width() {
        let away = panel()
            .away("the card fell off the bus, and whoever wants it back must restart the machine for it");
        for width in [0, 1, 10, 40, 80, 120, 300] {
            let lines = view(&[panel(), away.clone()], width);
            assert!(lines.len() > 12);
            for line in lines {
                assert!(display_width(&line) <= width, "{width}: {line}");
            }
        }
    }

    #[test]
    fn the_view_says_everything_at_eighty_columns() {
        let lines = view(&[panel()], 80);
        assert_eq!(lines[1], "  memory       ████████████████████░░░░░░░░░░░░░░░░░░░  12.0 GiB of 24.0 GiB");
        for (line, wanted) in lines[2..].iter().zip([
            "87%, memory 43%",
            "▅▅▆▆▆▆ ▆▆▆▆▆▆ ▇",
            "71 °C",
            "1695 of 2100 MHz, memory 9501 MHz",
            "342 of 350 W, 12.5 kJ since the start",
            "too hot, at its power limit",
            " 11.0 GiB      4242  python3",
            " 1.00 GiB         7  写",
            "utilisation of processes (",
        ]) {
            assert!(line.contains(wanted), "{line}");
        }
    }

    #[test]
    fn lines_and_rows_have_what_is_known_and_say_what_is_wrong() {
        assert_eq!(
            line(&panel(), "12:00:00"),
            "12:00:00 cuda:0 memory 12.0 GiB of 24.0 GiB, utilisation 87%, 71 °C, 1695 MHz, 342 W, too hot, at its \
             power limit"
        );
        let row = row(&panel().away("gone"), "t");
        assert_eq!((row[0].as_str(), row[3].as_str(), row[15].as_str()), ("t", "", "gone"));
        assert_eq!(line(&panel().away("gone"), "t"), "t cuda:0 unavailable: gone");
        let row = super::row(&panel(), "t");
        assert_eq!((row[12].as_str(), row[13].as_str()), ("13500", "thermal-software power-cap"));
        assert!(row[14].ends_with(" 4242:11811160064"), "{}", row[14]);
    }
}
