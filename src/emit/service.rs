//! What is decided about a service, and what others have promised of it: as sheets that a terminal and a page show alike.

use minijinja::{Value, context};

use super::bracket;
use super::columns::{self, Column, NEEDED};
use super::style::Style;
use crate::analysis::{Analysis, KeptPromise, ServiceAnalysis, judged_estimate};
use crate::units::Bytes;

/// A small table.
pub struct Sheet {
    pub title: String,
    /// Headings; of columns that don't fit the last ones go first, but for the first three.
    headings: Vec<&'static str>,
    rows: Vec<Row>,
    /// What is to be said below.
    pub said: Vec<String>,
}

struct Row {
    cells: Vec<String>,
    chosen: bool,
}

/// All that there is to show.
pub fn sheets(analysis: &Analysis) -> Vec<Sheet> {
    let of_service = analysis.service.iter().flat_map(of_service);
    of_service.chain(promises(&analysis.promises)).collect()
}

pub fn text(analysis: &Analysis, style: Style) -> String {
    sheets(analysis).iter().map(|sheet| sheet.text(style) + "\n").collect()
}

/// The same for the page's template.
pub fn values(analysis: &Analysis) -> Vec<Value> {
    let value = |sheet: &Sheet| {
        let rows = sheet.rows.iter().map(|row| context! { cells => row.cells.clone(), chosen => row.chosen });
        context! {
            title => sheet.title.as_str(),
            headings => sheet.headings.clone(),
            rows => rows.collect::<Vec<_>>(),
            said => sheet.said.clone(),
        }
    };
    sheets(analysis).iter().map(value).collect()
}

impl Sheet {
    fn text(&self, style: Style) -> String {
        let mut text = style.bold(&style.paragraph(&self.title));
        if !self.rows.is_empty() {
            let columns = self.headings.iter().enumerate().map(|(place, heading)| {
                let cell = move |row: &Row| row.cells.get(place).cloned();
                match place {
                    0 => Column::new(heading, NEEDED, cell),
                    1 | 2 => Column::number(heading, NEEDED, cell),
                    _ => Column::number(heading, place as u8, cell),
                }
            });
            let rows: Vec<&Row> = self.rows.iter().collect();
            text.push_str(&columns::render(columns.collect(), &rows, style, |row| row.chosen));
            text.push('\n');
        }
        self.said.iter().for_each(|said| text.push_str(&style.paragraph(said)));
        text
    }
}

fn of_service(service: &ServiceAnalysis) -> Vec<Sheet> {
    let mut sheets = vec![requests(service)];
    if !service.choices.is_empty() {
        sheets.push(choices(service));
    }
    if !service.cache.is_empty() {
        sheets.push(caches(service));
    }
    sheets.retain(|sheet| !sheet.rows.is_empty());
    if let Some(last) = sheets.last_mut() {
        last.said.extend(service.without.iter().map(|without| format!("! not measured: {without}")));
    }
    sheets
}

/// The table with which people compare such services.
fn requests(service: &ServiceAnalysis) -> Sheet {
    let row = |request: &crate::analysis::Request| Row {
        cells: vec![
            request.what.clone(),
            format!("{:.4} s", request.seconds),
            format!("{:.2} {}", request.a_second, request.unit),
            format!("{:.4} s", request.deviation),
            request.default_times.map_or("–".to_owned(), |times| format!("{times:.2} ×")),
        ],
        chosen: false,
    };
    Sheet {
        title: "requests, with each stage's winner".to_owned(),
        headings: vec!["request", "average", "throughput", "deviation", "default_takes"],
        rows: service.requests.iter().map(row).collect(),
        said: Vec::new(),
    }
}

fn choices(service: &ServiceAnalysis) -> Sheet {
    let mut rows = Vec::new();
    for choice in &service.choices {
        let chosen = (Some(choice.k), Some(choice.n)) == (service.rerank_k, service.final_n);
        let judged = judged_estimate(&choice.ndcg10);
        let change = match choice.ndcg10.change {
            Some([low, high]) if choice.k > 0 => format!("[{low:+.3}, {high:+.3}]"),
            _ => "–".to_owned(),
        };
        rows.push(Row {
            cells: vec![
                choice.k.to_string(),
                choice.n.to_string(),
                format!("{:.3} {}", judged.value, bracket(judged, 3)),
                choice.seconds.map_or("–".to_owned(), |seconds| format!("{:.1} ms", 1000.0 * seconds)),
                change,
            ],
            chosen,
        });
    }
    let said = match (service.rerank_k, service.final_n) {
        (Some(0), Some(n)) => {
            format!("→ don't sort again, keep {n}: nothing sorted again is worth 1% of nDCG")
        }
        (Some(k), Some(n)) => format!("→ sort {k} again, keep {n}: the cheapest within 1% of the best"),
        _ => String::new(),
    };
    Sheet {
        title: format!("finds sorted again, by {} queries", service.sorted.max(1).min(service.queries)),
        headings: vec!["sorted_again", "kept", "nDCG@10", "a query", "beside not sorting"],
        rows,
        said: vec![said],
    }
}

fn caches(service: &ServiceAnalysis) -> Sheet {
    let row = |cache: &crate::analysis::Cache| Row {
        cells: vec![
            cache.size.to_string(),
            format!("{:.1}%", 100.0 * cache.hit_rate),
            cache.seconds.map_or("–".to_owned(), |seconds| format!("{:.2} ms", 1000.0 * seconds)),
            format!("{:.2} ×", cache.gain),
            Bytes(cache.bytes).to_string(),
        ],
        chosen: Some(cache.size) == service.cache_size,
    };
    let [queries, distinct] = service.log.unwrap_or_default();
    let said = match service.cache_size {
        Some(0) => "→ no cache: a query that is remembered never comes again".to_owned(),
        Some(size) => format!("→ remember {size} queries: the smallest within 1% of the best"),
        None => String::new(),
    };
    Sheet {
        title: format!("queries remembered, on a log of {queries} of which {distinct} are different"),
        headings: vec!["remembered", "hits", "a query", "gain", "memory"],
        rows: service.cache.iter().map(row).collect(),
        said: vec![said],
    }
}

fn promises(promises: &[KeptPromise]) -> Option<Sheet> {
    let said = |kept: &KeptPromise| format!("{} · {}: {}", kept.says, kept.verdict.name(), found(kept));
    (!promises.is_empty()).then(|| Sheet {
        title: "promises, and what was found".to_owned(),
        headings: Vec::new(),
        rows: Vec::new(),
        said: promises.iter().map(said).collect(),
    })
}

/// What was found, in a sentence.
pub fn found(kept: &KeptPromise) -> String {
    if let Some(why) = &kept.why {
        return why.clone();
    }
    let times = kept.times.map(|times| format!("{:.2} times {}", times.value, bracket(times, 2)));
    let loses = kept.loses.map(|(metric, lost)| format!("{} {:+.1}%", metric.name(), -100.0 * lost));
    let smaller = kept.smaller.map(|times| format!("{times:.1} times less memory"));
    let figures: Vec<String> = times.into_iter().chain(loses).chain(smaller).collect();
    let pair = kept.pair.as_ref().map(|[own, other]| format!(" ({own} beside {other})")).unwrap_or_default();
    format!("here {}{pair}", figures.join(", "))
}
