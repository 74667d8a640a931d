//! Watches cards until somebody has seen enough. The terminal, CSV and Prometheus show the same readings.
//!
//! A thread reads the cards and this one shows them, so that a driver that hangs keeps nobody from leaving.

mod screen;
mod server;

use std::io::{self, Write};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

pub use server::{Server, address};

use crate::emit::{monitor, prometheus};
use crate::runner::Interrupt;
use crate::telemetry::{Keeper, Panel};
use screen::Screen;

/// How often it's looked whether the terminal has changed its size, or somebody asked us to stop.
const LOOK: Duration = Duration::from_millis(50);

/// Without a reading for so long, and for three intervals, the cards count as away.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where readings are shown to people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Show {
    /// In the terminal, drawn anew with each reading.
    Live,
    /// A line a reading.
    Lines,
    Nothing,
}

pub struct Options {
    pub interval: Duration,
    pub show: Show,
    pub csv: Option<Box<dyn Write>>,
    pub server: Option<Server>,
}

/// What wakes the monitor.
enum Event {
    Read(Vec<Panel>),
    Key(u8),
}

/// Reads the cards once.
pub fn once(mut keepers: Vec<Keeper>) -> Vec<Panel> {
    keepers.iter_mut().for_each(|keeper| keeper.refresh(Duration::ZERO));
    keepers.into_iter().map(|keeper| keeper.panel).collect()
}

/// Watches until `q`, Ctrl-C or a signal.
pub fn run(keepers: Vec<Keeper>, options: Options, interrupt: &Interrupt) -> io::Result<()> {
    let mut panels: Vec<Panel> = keepers.iter().map(|keeper| keeper.panel.clone()).collect();
    let (events, woken) = mpsc::channel();
    let Options { interval, show, csv, server } = options;
    let mut table = csv.map(csv::Writer::from_writer);
    if let Some(table) = &mut table {
        table.write_record(monitor::COLUMNS)?;
        table.flush()?;
    }
    let mut screen = if show == Show::Live { Some(Screen::enter()?) } else { None };
    if screen.as_ref().is_some_and(Screen::has_keys) {
        let keys = events.clone();
        std::thread::spawn(move || read_keys(&keys));
    }
    // One end stays here, so that a wait is always one.
    let readings = events.clone();
    std::thread::spawn(move || read_cards(keepers, interval, &readings));
    let patience = PATIENCE.max(3 * interval);
    let mut heard = Instant::now();
    let mut draw = |panels: &[Panel], only_if_resized: bool| match &mut screen {
        Some(screen) => screen.draw(only_if_resized, |width| screen_lines(panels, interval, width)),
        None => Ok(()),
    };
    while interrupt.signal().is_none() {
        match woken.recv_timeout(LOOK) {
            Ok(Event::Read(read)) => {
                heard = Instant::now();
                panels = read;
                let time = time();
                if let Some(table) = &mut table {
                    panels.iter().try_for_each(|panel| table.write_record(monitor::row(panel, &time)))?;
                    table.flush()?;
                }
                if show == Show::Lines {
                    let lines = panels.iter().map(|panel| monitor::line(panel, &time) + "\n");
                    io::stdout().lock().write_all(lines.collect::<String>().as_bytes())?;
                }
            }
            // Ctrl-C and Ctrl-D come as keys, for the terminal hands over every one.
            Ok(Event::Key(b'q' | b'Q' | 3 | 4)) => return Ok(()),
            Ok(Event::Key(_)) | Err(RecvTimeoutError::Timeout) if heard.elapsed() < patience => {
                draw(&panels, true)?;
                continue;
            }
            Ok(Event::Key(_)) | Err(_) => {
                // Said once, and again when there are news.
                if panels.iter().any(Panel::is_up) {
                    panels = panels.iter().map(|panel| panel.away("the driver doesn't answer")).collect();
                } else {
                    draw(&panels, true)?;
                    continue;
                }
            }
        }
        if let Some(server) = &server {
            server.publish(prometheus::exposition(&panels));
        }
        draw(&panels, false)?;
    }
    Ok(())
}

/// Now, in UTC.
pub fn time() -> String {
    jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()
}

fn screen_lines(panels: &[Panel], interval: Duration, width: usize) -> Vec<String> {
    let time = jiff::Timestamp::now().strftime("%H:%M:%S");
    let interval = crate::units::print_duration(interval);
    let title = format!("autotune monitor · {time} UTC · every {interval} · press q to quit");
    let mut lines = vec![monitor::cut(&title, width), String::new()];
    lines.extend(monitor::view(panels, width));
    lines
}

/// Reads all cards in every interval, until nobody listens.
fn read_cards(mut keepers: Vec<Keeper>, interval: Duration, events: &Sender<Event>) {
    let start = Instant::now();
    let mut next = Duration::ZERO;
    loop {
        keepers.iter_mut().for_each(|keeper| keeper.refresh(start.elapsed()));
        let panels = keepers.iter().map(|keeper| keeper.panel.clone()).collect();
        if events.send(Event::Read(panels)).is_err() {
            return;
        }
        // One that took longer than its interval isn't made up for.
        next = (next + interval).max(start.elapsed());
        std::thread::sleep(next.saturating_sub(start.elapsed()));
    }
}

fn read_keys(events: &Sender<Event>) {
    for key in io::Read::bytes(io::stdin()) {
        let Ok(key) = key else { return };
        if events.send(Event::Key(key)).is_err() {
            return;
        }
    }
}
