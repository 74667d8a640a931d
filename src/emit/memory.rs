//! What models take, as a table for people and as a CSV with every round. `results/README.md` explains each column.

use std::collections::BTreeSet;
use std::io;

use super::columns::{self, Column, NEEDED};
use super::style::Style;
use crate::analysis::{Growth, Interval, Kept, Leak, MemoryReport, MemoryRow, SETTLING};
use crate::record::{Levels, Round};
use crate::units::{Bytes, print_duration, significant};

/// The table, what couldn't be measured and why, and one line on leaks.
pub fn render(report: &MemoryReport, style: Style) -> String {
    let mut text = style.bold(&style.paragraph(&title(report)));
    let shown: Vec<&MemoryRow> = report.rows.iter().collect();
    let columns = columns(report).into_iter().filter(|column| column.has_some(&shown)).collect();
    text.push_str(&columns::render(columns, &shown, style, |row| !row.leaks().is_empty()));
    text.push('\n');
    for row in &report.rows {
        if let Some(reason) = &row.reason {
            text.push_str(&style.paragraph(&format!("{}: {}: {reason}", label(row), row.status)));
        }
    }
    text.push_str(&style.bold(&style.paragraph(&format!("→ {}", conclusion(report)))));
    for caution in cautions(report) {
        text.push_str(&style.caution(&caution));
    }
    text
}

fn title(report: &MemoryReport) -> String {
    let models: BTreeSet<String> = report.rows.iter().map(model).collect();
    let models = if models.len() == 1 { models.into_iter().collect() } else { "models".to_owned() };
    let rounds: Vec<&Round> = report.rows.iter().flat_map(|row| &row.footprint.rounds).collect();
    // They differ where models do.
    let tokens: BTreeSet<u64> =
        rounds.iter().map(|round| round.tokens).filter(|tokens| *tokens > 0).collect();
    let length = match (tokens.first(), tokens.last()) {
        (Some(least), Some(most)) if least == most => format!(" of {most} tokens"),
        (Some(least), Some(most)) => format!(" of {least} to {most} tokens"),
        _ => String::new(),
    };
    let simulated = if report.rows.iter().any(MemoryRow::is_simulated) { " · simulated" } else { "" };
    format!(
        "memory of {models}{simulated} · {} documents{length} in a batch · {} rounds · in MiB",
        report.batch_size, report.rounds
    )
}

/// The model's own name, without whose it is.
fn model(row: &MemoryRow) -> String {
    let name = row.model.trim_end_matches('/');
    let name = name.rsplit('/').next().unwrap_or(name);
    if row.replica { format!("{name} (replica)") } else { name.to_owned() }
}

fn label(row: &MemoryRow) -> String {
    format!("{} {} on {}, {}", row.candidate.backend, row.dtype(), row.device, model(row))
}

fn columns(report: &MemoryReport) -> Vec<Column<MemoryRow>> {
    let differs = |of: &dyn Fn(&MemoryRow) -> String| {
        report.rows.iter().map(of).collect::<BTreeSet<String>>().len() > 1
    };
    let mut columns = Vec::new();
    if differs(&model) {
        columns.push(Column::new("model", NEEDED, |row: &MemoryRow| Some(model(row))));
    }
    if differs(&|row| row.device.clone()) {
        columns.push(Column::new("device", NEEDED, |row: &MemoryRow| Some(row.device.clone())));
    }
    columns.push(Column::new("backend", NEEDED, |row: &MemoryRow| Some(row.candidate.backend.clone())));
    columns.push(Column::new("dtype", NEEDED, |row: &MemoryRow| Some(row.dtype())));
    let seconds = |seconds: Option<f64>| {
        Some(print_duration(std::time::Duration::try_from_secs_f64(seconds?).unwrap_or_default()))
    };
    columns.extend([
        // The first to be left out follows from others, or says little; all of them are in the JSON.
        rss("RSS_before", 5, |kept| mib(kept.before as f64)),
        rss("RSS_loaded", NEEDED, |kept| mib(kept.loaded as f64)),
        rss("RSS_peak", 1, |kept| mib(kept.peak as f64)),
        rss("RSS_after", NEEDED, |kept| mib(kept.after as f64)),
        rss("RSS_stays", 2, |kept| mib(kept.stays as f64)),
        Column::number("VMS_loaded", 6, |row: &MemoryRow| row.taken.vms.map(|kept| mib(kept.loaded as f64))),
        device("VRAM_loaded", NEEDED, |kept| mib(kept.loaded as f64)),
        device("VRAM_peak", NEEDED, |kept| mib(kept.peak as f64)),
        // Before a load a worker has nothing on a card, so that what is there after it is what stays.
        device("VRAM_stays", 1, |kept| mib(kept.stays as f64)),
        Column::number("VRAM_reserved", 3, |row: &MemoryRow| Some(mib(row.taken.reserved_bytes? as f64))),
        Column::number("VRAM_used", 4, |row: &MemoryRow| Some(mib(row.taken.used_bytes? as f64))),
        Column::number("load_cold", 1, move |row: &MemoryRow| seconds(row.taken.cold_load_seconds)),
        Column::number("load_warm", NEEDED, move |row: &MemoryRow| seconds(row.taken.warm_load_seconds)),
        Column::new("verdict", NEEDED, |row: &MemoryRow| Some(verdict(row))),
    ]);
    columns
}

fn rss(title: &str, dispensable: u8, text: fn(Kept) -> String) -> Column<MemoryRow> {
    Column::number(title, dispensable, move |row: &MemoryRow| row.taken.rss.map(text))
}

fn device(title: &str, dispensable: u8, text: fn(Kept) -> String) -> Column<MemoryRow> {
    Column::number(title, dispensable, move |row: &MemoryRow| row.taken.device.map(text))
}

fn mib(bytes: f64) -> String {
    // An unload that gives back more than the load took leaves less than there was.
    significant(bytes / Bytes::MIB as f64)
}

fn verdict(row: &MemoryRow) -> String {
    if !row.is_ok() {
        return row.status.clone();
    }
    match row.leak() {
        Leak::Found => "leaks",
        Leak::Suspected => "grows",
        Leak::None => "no leak",
        Leak::Unknown => "–",
    }
    .to_owned()
}

fn conclusion(report: &MemoryReport) -> String {
    let measured: Vec<&MemoryRow> = report.rows.iter().filter(|row| row.is_ok()).collect();
    let count = |leak: Leak| measured.iter().filter(|row| row.leak() == leak).count();
    let (all, found) = (measured.len(), count(Leak::Found));
    let rounds = report.rounds;
    if all == 0 {
        return "nothing could be measured".to_owned();
    }
    if found > 0 {
        return format!("{found} of {all} leak over {rounds} rounds of load and unload");
    }
    if count(Leak::Unknown) + count(Leak::Suspected) > 0 {
        return format!(
            "{rounds} rounds are too few to detect a leak, because the first {SETTLING} don't count: run again with \
             --rounds 50"
        );
    }
    format!("no leak over {rounds} rounds of load and unload")
}

fn cautions(report: &MemoryReport) -> Vec<String> {
    let mut cautions = Vec::new();
    for row in &report.rows {
        for (kind, growth) in row.leaks() {
            cautions.push(format!("{}: {kind} {}", label(row), grows(growth)));
        }
    }
    let mut once = |text: String| {
        if !cautions.contains(&text) {
            cautions.push(text);
        }
    };
    for row in &report.rows {
        let footprint = &row.footprint;
        if let Some(why) = footprint.not_cold.as_ref().filter(|_| !footprint.rounds.is_empty()) {
            once(format!("{}: the first load was not cold: {why}", label(row)));
        }
        if footprint.device_derived {
            once(format!(
                "{}: VRAM is the growth of the card's used memory, because the driver doesn't list the worker: it \
                 includes other processes on the card",
                row.device
            ));
        }
        if let Some(why) = &footprint.unseen {
            once(format!("{}: its memory could not be read: {why}", row.device));
        }
    }
    cautions
}

fn grows(growth: Growth) -> String {
    let size = |bytes: f64| Bytes(bytes.max(0.0) as u64).to_string();
    let Interval { low, high } = growth.per_round.interval.unwrap_or(Interval::of(growth.per_round.value));
    let by = format!(
        "grows by {} a round [{}, {}], {} from the first third of the rounds to the last",
        size(growth.per_round.value),
        size(low),
        size(high),
        size(growth.total)
    );
    match growth.verdict {
        Leak::Found => by,
        _ => format!("{by}: too few rounds to be sure; run again with --rounds 50"),
    }
}

/// The columns of the CSV.
pub const COLUMNS: [&str; 32] = [
    "model",
    "task",
    "weights",
    "device",
    "backend",
    "dtype",
    "batch_size",
    "round",
    "status",
    "reason",
    "load_s",
    "cold",
    "tokens",
    "rss_before_bytes",
    "rss_loaded_bytes",
    "rss_peak_bytes",
    "rss_after_bytes",
    "vms_before_bytes",
    "vms_loaded_bytes",
    "vms_peak_bytes",
    "vms_after_bytes",
    "vram_before_bytes",
    "vram_loaded_bytes",
    "vram_peak_bytes",
    "vram_after_bytes",
    "vram_derived",
    "cap_bytes",
    "overhead_bytes",
    "reserved_peak_bytes",
    "used_peak_bytes",
    "version",
    "provenance",
];

/// Every round; and what went wrong, as the round that wasn't finished.
pub fn csv(report: &MemoryReport) -> io::Result<Vec<u8>> {
    let mut table = csv::Writer::from_writer(Vec::new());
    table.write_record(COLUMNS)?;
    for row in &report.rows {
        for (number, round) in row.footprint.rounds.iter().enumerate() {
            table.write_record(record(report, row, number, Some(round)))?;
        }
        if !row.is_ok() {
            table.write_record(record(report, row, row.footprint.rounds.len(), None))?;
        }
    }
    table.into_inner().map_err(|error| error.into_error())
}

fn record(report: &MemoryReport, row: &MemoryRow, number: usize, round: Option<&Round>) -> Vec<String> {
    let word = |is: bool, yes: &str, no: &str| if is { yes.to_owned() } else { no.to_owned() };
    let or_nothing = |value: Option<u64>| value.map_or_else(String::new, |value| value.to_string());
    let levels = |of: fn(&Round) -> Option<Levels>| {
        let levels = round.and_then(of);
        let all = levels.map(|levels| [levels.before, levels.loaded, levels.peak, levels.after]);
        all.map_or([None; 4], |all| all.map(Some)).map(or_nothing)
    };
    let footprint = &row.footprint;
    let memory = round.and_then(|round| round.device_memory);
    let cold = round.map(|_| word(number == 0 && footprint.not_cold.is_none(), "true", "false"));
    let mut record = vec![
        row.model.clone(),
        row.task.name().to_owned(),
        word(row.replica, "replica", "checkpoint"),
        row.device.clone(),
        row.candidate.backend.clone(),
        row.dtype(),
        report.batch_size.to_string(),
        number.to_string(),
        if round.is_some() { "ok".to_owned() } else { row.status.clone() },
        row.reason.clone().filter(|_| round.is_none()).unwrap_or_default(),
        round.map_or_else(String::new, |round| round.load_seconds.to_string()),
        cold.unwrap_or_default(),
        or_nothing(round.map(|round| round.tokens).filter(|tokens| *tokens > 0)),
    ];
    record.extend(levels(|round| round.rss));
    record.extend(levels(|round| round.vms));
    record.extend(levels(|round| round.device));
    let derived = round.and_then(|round| round.device).map(|_| footprint.device_derived.to_string());
    record.push(derived.unwrap_or_default());
    record.extend(
        [
            memory.and_then(|memory| memory.cap_bytes),
            memory.map(|memory| memory.overhead_bytes),
            memory.map(|memory| memory.reserved_peak_bytes),
            memory.and_then(|memory| memory.used_peak_bytes),
        ]
        .map(or_nothing),
    );
    record.push(footprint.loaded.as_ref().map(|loaded| loaded.version.clone()).unwrap_or_default());
    let provenance = footprint.loaded.as_ref().map(|loaded| word(loaded.simulated, "simulated", "measured"));
    record.push(provenance.unwrap_or_default());
    record
}

#[cfg(test)]
mod tests {
    use indexmap::IndexMap;

    use super::*;
    use crate::analysis::taken;
    use crate::backend::DeviceMemory;
    use crate::knob::{Candidate, Value};
    use crate::record::Footprint;
    use crate::task::Task;

    /// Rounds on a card, of which each leaves so many MiB more on the host than the one before.
    fn row(device: &str, dtype: &str, rounds: u64, leak: u64) -> MemoryRow {
        let round = |number: u64| {
            let levels = |before: u64, added: u64| {
                let [before, loaded, peak, after] =
                    [before, before + added, before + 2 * added, before].map(|mib| mib * Bytes::MIB);
                Some(Levels { before, loaded, peak, after })
            };
            let on_card = device.starts_with("cuda");
            let reserved_peak_bytes = 2048 * Bytes::MIB;
            let used_peak_bytes = Some(1777 * Bytes::MIB);
            Round {
                load_seconds: 1.2345,
                tokens: 512,
                rss: levels(1000 + leak * number, 1100),
                vms: levels(21_000, 5000),
                device: levels(400, 1300).filter(|_| on_card),
                device_memory: on_card.then(|| DeviceMemory {
                    reserved_peak_bytes,
                    used_peak_bytes,
                    ..DeviceMemory::default()
                }),
            }
        };
        let footprint = Footprint { rounds: (0..rounds).map(round).collect(), ..Footprint::default() };
        let knobs = IndexMap::from([("dtype".to_owned(), Value::Text(dtype.to_owned()))]);
        MemoryRow {
            model: "sentence-transformers/all-MiniLM-L6-v2".into(),
            task: Task::Embed,
            replica: false,
            device: device.into(),
            candidate: Candidate { backend: "candle".into(), knobs },
            status: "ok".into(),
            reason: None,
            taken: taken(&footprint),
            footprint,
        }
    }

    fn report(rounds: u32, rows: Vec<MemoryRow>) -> MemoryReport {
        MemoryReport { batch_size: 8, rounds, rows }
    }

    fn text(report: &MemoryReport, width: u16) -> String {
        let text = render(report, Style { width, colour: false });
        let widest = text.lines().map(|line| line.chars().count()).max().unwrap();
        assert!(widest <= usize::from(width), "{widest} of {width}\n{text}");
        text
    }

    #[test]
    fn the_table_fits_and_a_wide_one_has_everything_of_the_processor() {
        let processor = report(50, vec![row("cpu", "fp32", 50, 0), row("cpu", "fp16", 50, 0)]);
        for heading in ["before", "loaded", "peak", "after", "stays", "VMS", "cold", "warm"] {
            assert!(text(&processor, 120).contains(heading), "{heading}");
        }
        assert!(text(&processor, 80).contains("stays") && !text(&processor, 80).contains("VMS"));
        assert!(text(&processor, 80).contains("→ no leak over 50 rounds"), "{}", text(&processor, 80));
        let card = report(5, vec![row("cuda:0", "fp32", 5, 0)]);
        assert!(text(&card, 120).contains("reserved"), "{}", text(&card, 120));
        assert!(text(&card, 80).contains("too few to detect"), "{}", text(&card, 80));
        let both = report(5, vec![row("cuda:0", "fp32", 5, 0), row("cpu", "int8-weights", 5, 0)]);
        assert!(text(&both, 120).contains("device") && text(&both, 90).contains("device"));
    }

    #[test]
    fn a_leak_stands_out_and_what_could_not_be_is_told() {
        let mut refused = row("cpu", "bf16", 0, 0);
        (refused.status, refused.reason) = ("refused".into(), Some("it's for GPUs".into()));
        let leaky = report(50, vec![row("cpu", "fp32", 50, 2), refused]);
        let text = text(&leaky, 100);
        for words in [
            "→ 1 of 1 leak over 50 rounds",
            "! candle fp32 on cpu, all-MiniLM-L6-v2: host memory grows by 2.00 MiB a round [2.00 MiB, 2.00 MiB], 64.0",
            "candle bf16 on cpu, all-MiniLM-L6-v2: refused: it's for GPUs",
            "refused",
        ] {
            // Paragraphs break where the width has it.
            let plain = text.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(plain.contains(words), "no {words:?} in\n{text}");
        }
    }

    #[test]
    fn every_round_is_a_row_and_so_is_what_went_wrong() {
        let mut died = row("cuda:0", "fp32", 3, 0);
        (died.status, died.reason) = ("crashed".into(), Some("the worker ended".into()));
        let csv = csv(&report(5, vec![died])).unwrap();
        let mut table = csv::Reader::from_reader(&csv[..]);
        let rows: Vec<std::collections::HashMap<String, String>> =
            table.deserialize().map(Result::unwrap).collect();
        let of = |column: &str| rows.iter().map(|row| row[column].clone()).collect::<Vec<_>>();
        assert_eq!(of("round"), ["0", "1", "2", "3"]);
        assert_eq!(of("status"), ["ok", "ok", "ok", "crashed"]);
        assert_eq!(of("cold"), ["true", "false", "false", ""]);
        assert_eq!(rows[0]["vram_peak_bytes"], (3000 * Bytes::MIB).to_string());
        assert_eq!(
            (rows[0]["used_peak_bytes"].as_str(), rows[3]["rss_after_bytes"].as_str()),
            ("1863319552", "")
        );
    }
}
