//! What is known for sure of a winner, in a line each.

use crate::analysis::{Certificate, StageAnalysis};
use crate::record::WorstBatch;
use crate::task::Metric;
use crate::units::Bytes;

/// A name of at most ten letters, and what there is to say.
pub type Line = (&'static str, String);

/// All that the certificate of a stage says; nothing where it has none.
pub fn lines(stage: &StageAnalysis) -> Vec<Line> {
    let Some(certificate) = &stage.certificate else { return Vec::new() };
    let lines = [confirmed(certificate), stable(certificate), index(certificate), memory(certificate)];
    lines.into_iter().flatten().collect()
}

fn confirmed(certificate: &Certificate) -> Option<Line> {
    let Certificate { rounds, documents, fresh, .. } = certificate;
    let of_documents = match fresh {
        true => format!("{documents} documents that the search has not seen"),
        false => format!("the same {documents} documents"),
    };
    (*rounds > 0).then(|| ("confirmed", format!("on {of_documents}, in {rounds} rounds of new processes")))
}

fn stable(certificate: &Certificate) -> Option<Line> {
    let stability = certificate.stability.as_ref()?;
    let worst = match stability.metric {
        Metric::WorstCosine => format!("worst cosine {:.4}", stability.value),
        metric => format!("{} {:.4}", metric.name(), stability.value),
    };
    let neighbours = stability.neighbours_kept.map(|kept| format!(", {} of neighbours kept", percent(kept)));
    Some((
        "answers",
        format!(
            "in other batches, orders and paddings: {worst} ({}){}, over {} variations of {} documents",
            stability.what,
            neighbours.unwrap_or_default(),
            stability.variations,
            stability.documents
        ),
    ))
}

fn index(certificate: &Certificate) -> Option<Line> {
    let index = certificate.index.as_ref()?;
    let can = if index.keeps { "stored vectors can be kept" } else { "stored vectors must be made again" };
    let neighbours = index.neighbours_kept.map(|kept| format!(", {} of neighbours kept", percent(kept)));
    Some((
        "index",
        format!("{can}: cosine {:.4} with the default's{}", index.cosine, neighbours.unwrap_or_default()),
    ))
}

fn memory(certificate: &Certificate) -> Option<Line> {
    let WorstBatch { documents, peak_bytes, of_bytes, failed } = certificate.worst_batch.as_ref()?;
    let batch = match documents {
        1 => "the longest document".to_owned(),
        count => format!("a batch of the {count} longest documents"),
    };
    let text = match (failed, peak_bytes) {
        (Some(why), _) => format!("{batch} fails: {why}"),
        (None, Some(peak)) => {
            let of = of_bytes.map(|of| {
                let left = of.saturating_sub(*peak) as f64 / of as f64;
                format!(" of {}, {} left", Bytes(of), percent(left))
            });
            format!("{}{} for {batch}", Bytes(*peak), of.unwrap_or_default())
        }
        (None, None) => return None,
    };
    Some(("memory", text))
}

/// A share to a tenth of a percent, which isn't all as long as something is missing.
fn percent(share: f64) -> String {
    let tenths = (share * 1000.0).floor() / 10.0;
    format!("{tenths:.1}%").replace(".0%", "%")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearly_all_is_not_all() {
        assert_eq!([1.0, 0.9999, 0.5, 0.123_99].map(percent), ["100%", "99.9%", "50%", "12.3%"]);
    }
}
