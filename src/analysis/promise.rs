//! What others have promised, beside what was found.

use super::kept::{Kept, PromiseVerdict};
use super::ratio;
use super::result::{Ranked, StageAnalysis};
use super::statistics::Estimate;
use crate::knob::Condition;
use crate::suite::{Figure, Promise};

/// The verdict on each promise.
pub fn kept(promises: &[Promise], stages: &[StageAnalysis], objective: Figure, device: &str) -> Vec<Kept> {
    promises.iter().map(|promise| of_one(promise, stages, objective, device)).collect()
}

fn of_one(promise: &Promise, stages: &[StageAnalysis], objective: Figure, device: &str) -> Kept {
    let (says, verdict) = (promise.says.clone(), PromiseVerdict::NotMeasured);
    let mut kept = Kept { says, verdict, times: None, loses: None, smaller: None, pair: None, why: None };
    match compared(promise, stages, device) {
        Ok((stage, own, other)) => {
            kept.pair = Some([own, other].map(|ranked| stage.label(&ranked.summary.candidate)));
            kept.judge(promise, stage, [own, other], objective);
        }
        Err(why) => kept.why = Some(why),
    }
    kept
}

/// The two configurations that a promise is about, or why there are none.
fn compared<'a>(
    promise: &Promise,
    stages: &'a [StageAnalysis],
    device: &str,
) -> Result<(&'a StageAnalysis, &'a Ranked, &'a Ranked), String> {
    if let Some(wanted) = promise.device.as_ref().filter(|wanted| !device.starts_with(wanted.as_str())) {
        return Err(format!("it's said of {wanted}, and this ran on {device}"));
    }
    let (Some(of), Some(beside)) = (&promise.of, &promise.beside) else {
        return Err("it's about something that autotune doesn't run".to_owned());
    };
    let stage = stages.iter().find(|stage| stage.name == promise.stage).ok_or("the stage wasn't measured")?;
    let best = |condition: &Condition| {
        best_of(stage, condition).ok_or_else(|| format!("no configuration with {condition} ran"))
    };
    Ok((stage, best(of)?, best(beside)?))
}

impl Kept {
    fn judge(&mut self, promise: &Promise, stage: &StageAnalysis, pair: [&Ranked; 2], objective: Figure) {
        let [own, other] = pair.map(|ranked| &ranked.summary);
        let mut verdicts = Vec::new();
        if let Some(range) = promise.times {
            let times = own.beside(other, ratio::by_round(&own.samples, &other.samples), objective);
            self.times = times.map(|times| match objective.more_is_better() {
                true => times,
                false => Estimate::exact(1.0).over(times),
            });
            verdicts.extend(self.times.map(|times| within(times, range)));
        }
        if let Some([_, most]) = promise.loses {
            let values = own.value(Figure::Quality).zip(other.value(Figure::Quality));
            self.loses = values.map(|(own, other)| (stage.metric, 1.0 - own / other));
            verdicts.extend(self.loses.map(|(_, lost)| match promise.loses {
                Some([least, _]) if lost < least => PromiseVerdict::More,
                _ if lost <= most => PromiseVerdict::Kept,
                _ => PromiseVerdict::NotKept,
            }));
        }
        if let Some(range) = promise.smaller {
            let memory = |figure: Figure| Some(other.value(figure)? / own.value(figure)?);
            self.smaller = memory(Figure::Vram).or_else(|| memory(Figure::Rss));
            verdicts.extend(self.smaller.map(|times| within(Estimate::exact(times), range)));
        }
        match worst(&verdicts) {
            Some(verdict) => self.verdict = verdict,
            None => self.why = Some("there is no figure of it".to_owned()),
        }
    }
}

/// The best configuration of those that meet a condition, whether or not a limit rules it out.
fn best_of<'a>(stage: &'a StageAnalysis, condition: &Condition) -> Option<&'a Ranked> {
    let meets = |ranked: &&Ranked| {
        ranked.summary.failure.is_none()
            && !ranked.summary.samples.is_empty()
            && condition.holds(&ranked.summary.candidate)
    };
    stage.candidates.iter().find(meets)
}

fn within(found: Estimate, [low, high]: [f64; 2]) -> PromiseVerdict {
    let interval = found.interval.map_or([found.value; 2], |interval| [interval.low, interval.high]);
    match interval {
        [_, most] if most < low => PromiseVerdict::NotKept,
        [least, _] if least > high => PromiseVerdict::More,
        [least, _] if least >= low => PromiseVerdict::Kept,
        _ if found.value >= low && found.interval.is_none() => PromiseVerdict::Kept,
        _ => PromiseVerdict::Unclear,
    }
}

/// Of several parts of a promise the one that is kept least.
fn worst(verdicts: &[PromiseVerdict]) -> Option<PromiseVerdict> {
    let order =
        [PromiseVerdict::NotKept, PromiseVerdict::Unclear, PromiseVerdict::Kept, PromiseVerdict::More];
    order.into_iter().find(|verdict| verdicts.contains(verdict))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::analysis::Interval;

    #[test]
    fn a_promise_is_held_against_the_whole_interval() {
        let found = |value: f64, low: f64, high: f64| {
            within(Estimate { interval: Some(Interval { low, high }), ..Estimate::exact(value) }, [2.0, 3.0])
        };
        assert_eq!(found(2.5, 2.2, 2.8), PromiseVerdict::Kept);
        assert_eq!(found(2.9, 2.2, 3.6), PromiseVerdict::Kept);
        assert_eq!(found(4.0, 3.5, 4.5), PromiseVerdict::More);
        assert_eq!(found(1.2, 1.1, 1.3), PromiseVerdict::NotKept);
        assert_eq!(found(2.1, 1.8, 2.4), PromiseVerdict::Unclear);
        assert_eq!(worst(&[PromiseVerdict::More, PromiseVerdict::NotKept]), Some(PromiseVerdict::NotKept));
        assert_eq!(worst(&[]), None);
    }

    #[test]
    fn what_isnt_measured_is_said_to_be_so() {
        let promise = Promise {
            says: "30–50 times".into(),
            stage: "embed".into(),
            device: Some("cuda".into()),
            of: None,
            beside: None,
            times: Some([30.0, 50.0]),
            loses: None,
            smaller: None,
        };
        let of = |promise: &Promise| of_one(promise, &[], Figure::Throughput, "cpu");
        let said = |promise: &Promise| {
            let kept = of(promise);
            assert_eq!(kept.verdict, PromiseVerdict::NotMeasured);
            kept.why.unwrap()
        };
        assert_eq!(said(&promise), "it's said of cuda, and this ran on cpu");
        let compiled = Promise { device: None, ..promise };
        assert_eq!(said(&compiled), "it's about something that autotune doesn't run");
        let of_int8: Condition = toml::from_str("dtype = \"int8\"").unwrap();
        let promise = Promise { of: Some(of_int8.clone()), beside: Some(of_int8.clone()), ..compiled };
        assert_eq!(said(&promise), "the stage wasn't measured");
        assert_eq!(of_int8.to_string(), "dtype=int8");
    }
}
