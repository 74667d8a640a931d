//! `autotune monitor`.

use std::fs::File;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use serde_json::json;

use super::exit::{self, BadUsage, NoCard};
use super::output::note;
use super::present;
use crate::emit;
use crate::hardware::{Machine, Target};
use crate::monitor::{self, Options, Server, Show};
use crate::runner::Interrupt;
use crate::telemetry::{self, Address, Keeper, Panel, Trouble};
use crate::units::parse_duration;

#[derive(Args)]
pub struct Arguments {
    /// The card: auto (the first), all, cuda:0, or a card such as rtx3090
    #[arg(long, value_name = "NAME", default_value = "auto")]
    gpu: String,
    /// Time between two readings
    #[arg(long, value_name = "TIME", default_value = "1s")]
    interval: String,
    /// Write a row for each card and reading; - writes to stdout and shows no view
    #[arg(long, value_name = "FILE|-")]
    csv: Option<PathBuf>,
    /// Serve metrics for Prometheus. Without a host, only this machine can connect
    #[arg(long, value_name = "HOST:PORT", conflicts_with_all = ["once", "json"])]
    listen: Option<String>,
    /// Read once, show the view, and exit
    #[arg(long)]
    once: bool,
    /// Read once, and print one JSON document
    #[arg(long, conflicts_with = "csv")]
    json: bool,
    /// Show no view
    #[arg(long, short)]
    quiet: bool,
}

/// The driver itself has no news more often than this.
const SHORTEST: Duration = Duration::from_millis(20);

pub fn run(arguments: &Arguments) -> anyhow::Result<u8> {
    let usage = |text: String| BadUsage(text);
    let interval =
        parse_duration(&arguments.interval).map_err(|error| usage(format!("--interval: {error}")))?;
    if interval < SHORTEST {
        return Err(usage(format!("--interval {}: it must be at least 20ms", arguments.interval)).into());
    }
    let listen = arguments.listen.as_deref().map(monitor::address).transpose();
    let listen = listen.map_err(|why| usage(format!("--listen: {why}")))?;
    let keepers = keepers(&arguments.gpu)?;
    if arguments.once || arguments.json {
        return once(arguments, &monitor::once(keepers));
    }
    let interrupt = Interrupt::listen()?;
    let server = listen.map(|address| {
        Server::start(address).with_context(|| format!("--listen {address}: can't listen on this address"))
    });
    let server = server.transpose()?;
    if let Some(server) = &server {
        let address = server.address;
        if !address.ip().is_loopback() {
            note(&format!(
                "warning: everyone who reaches {address} can read what runs on this card; use {} for this machine only",
                format_args!("127.0.0.1:{}", address.port())
            ));
        }
        note(&format!("metrics at http://{address}/metrics"));
    }
    let csv = arguments.csv.as_deref().map(csv).transpose()?;
    let to_stdout = arguments.csv.as_deref() == Some(Path::new("-"));
    let show = match io::stdout().is_terminal() {
        _ if arguments.quiet || to_stdout => Show::Nothing,
        true => Show::Live,
        false => Show::Lines,
    };
    match monitor::run(keepers, Options { interval, show, csv, server }, &interrupt) {
        // A reader that has had enough, as `head` does, is no error.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(exit::DONE),
        other => other.context("monitor").map(|()| exit::DONE),
    }
}

/// The cards that `wanted` names, opened.
fn keepers(wanted: &str) -> anyhow::Result<Vec<Keeper>> {
    if wanted == "cpu" {
        return Err(BadUsage("--gpu cpu: only GPUs can be watched".to_owned()).into());
    }
    let machine = Machine::here();
    telemetry::available(&machine).map_err(NoCard)?;
    let all = Address::all(&machine);
    let Some(first) = all.first().cloned() else {
        return Err(NoCard(Trouble::gone("NVIDIA's driver is installed, but finds no GPU")).into());
    };
    let addresses = match wanted {
        "auto" => vec![first],
        "all" => all,
        named => {
            let device = Target::resolve(named, &machine)?.device;
            device.and_then(|device| Address::of(&machine, &device)).into_iter().collect()
        }
    };
    let open = |address: Address| Keeper::open(move || telemetry::open(&address)).map_err(NoCard);
    Ok(addresses.into_iter().map(open).collect::<Result<_, _>>()?)
}

fn once(arguments: &Arguments, panels: &[Panel]) -> anyhow::Result<u8> {
    if arguments.json {
        super::output::print_json(&json!({ "cards": panels }))?;
        return Ok(exit::DONE);
    }
    if let Some(file) = &arguments.csv {
        let mut table = csv::Writer::from_writer(csv(file)?);
        table.write_record(emit::monitor::COLUMNS)?;
        let time = monitor::time();
        panels.iter().try_for_each(|panel| table.write_record(emit::monitor::row(panel, &time)))?;
        table.flush()?;
    }
    if !arguments.quiet && arguments.csv.as_deref() != Some(Path::new("-")) {
        let lines = emit::monitor::view(panels, usize::from(present::style().width));
        super::output::print(&(lines.join("\n") + "\n"))?;
    }
    Ok(exit::DONE)
}

fn csv(file: &Path) -> anyhow::Result<Box<dyn Write>> {
    if file == Path::new("-") {
        return Ok(Box::new(io::stdout()));
    }
    let made = File::create(file).with_context(|| format!("--csv {}", file.display()))?;
    Ok(Box::new(made))
}
