//! How the gates of a stage went, in sentences.

use crate::analysis::gate::Trend;
use crate::emit::style::Style;
use crate::units::significant;

/// Each trend, its title first.
pub fn render_trends(trends: &[Trend], style: Style) -> String {
    let mut text = String::new();
    for trend in trends {
        text.push_str(&style.bold(&style.paragraph(&title(trend))));
        for line in lines(trend) {
            text.push_str(&style.paragraph(&line));
        }
    }
    text
}

pub fn title(trend: &Trend) -> String {
    let since = trend.gates.first().map(|gate| day(&gate.at)).unwrap_or_default();
    let count = match trend.gates.len() {
        1 => "its first gate".to_owned(),
        count => format!("{count} gates since {since}"),
    };
    format!("{} on this machine, {}: {count}", trend.stage, trend.setting)
}

/// What is known of it.
pub fn lines(trend: &Trend) -> Vec<String> {
    level(trend).into_iter().chain(told(trend)).collect()
}

/// The level at which it is, and since when.
fn level(trend: &Trend) -> Option<String> {
    let (last, earlier) = trend.levels.split_last()?;
    let milliseconds = |seconds: f64| format!("{} ms", significant(seconds * 1e3));
    let now = milliseconds(last.seconds);
    let Some(before) = earlier.last() else {
        return Some(format!("time a document: {now}, and no change that noise doesn't explain"));
    };
    let first = &trend.gates[last.first];
    let change = (last.seconds / before.seconds - 1.0) * 100.0;
    let gated = first.ratio.map_or_else(String::new, |ratio| {
        let own = (ratio.value - 1.0) * 100.0;
        // A change that the pairs don't see is the machine's, or that of a revision between two gates.
        let told = if own * change > 0.0 && own.abs() > change.abs() / 2.0 {
            "that gate itself measured"
        } else {
            "so it's the machine, or what came between two gates: that gate itself measured"
        };
        format!("; {told} {own:+.1}%")
    });
    Some(format!(
        "time a document: {now} since {} ({}), before that {}: {change:+.1}%{gated}",
        first.new,
        day(&first.at),
        milliseconds(before.seconds)
    ))
}

/// What gates can tell here.
fn told(trend: &Trend) -> Option<String> {
    let noise = trend.noise?;
    let percent = |share: f64| format!("{:.1}%", share * 100.0);
    let between = |range: crate::analysis::gate::Range| {
        if range.low == range.high {
            return percent(range.middle);
        }
        format!("{} ({} to {})", percent(range.middle), percent(range.low), percent(range.high))
    };
    let smallest = trend
        .smallest
        .map(|smallest| format!("; the smallest slowdown found 9 times in 10: {}", between(smallest)));
    Some(format!("noise a pair: {}{}", between(noise), smallest.unwrap_or_default()))
}

fn day(at: &str) -> &str {
    at.split('T').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::gate::trend::tests::gates;
    use crate::analysis::statistics::Estimate;

    /// Ten gates at one level, and as many at another.
    fn two_levels(ratio: f64) -> Trend {
        let seconds: Vec<f64> = (0..20)
            .map(|place| if place < 10 { 0.004 } else { 0.0044 } + f64::from(place % 3) * 1e-5)
            .collect();
        let mut gates = gates(&seconds);
        gates[10].ratio = Some(Estimate::alone(ratio));
        Trend::of("embed".into(), "suite minilm, candle, on two cores".into(), gates)
    }

    #[test]
    fn a_trend_says_where_it_changed_and_who_is_to_blame() {
        let text = render_trends(&[two_levels(1.09)], Style { width: 200, colour: false });
        for wanted in [
            "embed on this machine, suite minilm, candle, on two cores: 20 gates since 2026-11-01",
            "since commit10 (2026-11-11), before that 4.01 ms: +10.0%; that gate itself measured +9.0%",
            "noise a pair: 2.0% (1.0% to 2.9%); the smallest slowdown found 9 times in 10: 3.0%",
        ] {
            assert!(text.contains(wanted), "{wanted}: {text}");
        }
        let text = render_trends(&[two_levels(1.001)], Style { width: 200, colour: false });
        assert!(text.contains("so it's the machine, or what came between two gates"), "{text}");
        let one = Trend::of("embed".into(), "s".into(), gates(&[0.004]));
        let text = render_trends(&[one], Style { width: 80, colour: false });
        assert!(
            text.contains("its first gate") && text.contains("no change that noise doesn't explain"),
            "{text}"
        );
    }
}
