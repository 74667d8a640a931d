//! How long a pass would take: each operation at the rate that holds it back, arithmetic or memory, and what comes besides.

use super::assumption::Efficiency;
use super::batches::{Batches, Shape};
use super::cost::{Step, steps};
use super::method::{Method, Numbers};
use crate::backend::Transfers;
use crate::hardware::Card;
use crate::model::Graph;
use crate::pipeline::{Pass, Settings, Split};
use crate::record::Between;

/// Capability from which tensor cores multiply in TF32, and attention of ours is on tensor cores.
const AMPERE: (u32, u32) = (8, 0);

/// A pass over the corpus in the middle of what is assumed, and between which multiples of its time the truth should lie.
pub fn pass(
    graph: &Graph,
    method: Method,
    settings: &Settings,
    batches: &Batches,
    card: &Card,
) -> (Pass, Between) {
    let bounds = Efficiency::bounds(method.engine);
    let counted: Vec<(&Shape, Vec<Step>)> =
        batches.of_pass.iter().map(|shape| (shape, steps(graph, method, shape))).collect();
    let timed = |efficiency: Efficiency| {
        let host = Host { settings, efficiency, card };
        let speed = Speed::of(card, method, efficiency);
        let times: Vec<Times> =
            counted.iter().map(|(shape, steps)| host.times(graph, shape, speed.seconds(steps))).collect();
        assemble(settings, batches, &times)
    };
    let middle = timed(Efficiency::between(bounds));
    let [best, worst] = bounds.map(timed);
    let between = Between { low: best.seconds / middle.seconds, high: worst.seconds / middle.seconds };
    (middle, between)
}

/// Rates that are really reached, a second.
struct Speed {
    product_flops: f64,
    exact_flops: f64,
    attention_flops: f64,
    bytes: f64,
    /// Seconds a kernel.
    launch: f64,
}

impl Speed {
    fn of(card: &Card, method: Method, efficiency: Efficiency) -> Speed {
        let is_ampere = card.capability().is_some_and(|capability| capability >= AMPERE);
        let plain = card.fp32_tflops * 1e12;
        let tensor = match method.numbers {
            Numbers::Float32 => None,
            Numbers::Float16 => Some(card.fp16_tflops * 1e12),
            Numbers::Bfloat16 => card.bf16_tflops.map(|tflops| tflops * 1e12),
        };
        // TF32 runs at half the rate of fp16 on every card that has it: NVIDIA's whitepapers of Ampere, Ada, Hopper.
        let tf32 = (method.tf32 && is_ampere).then_some(card.fp16_tflops * 1e12 / 2.0);
        Speed {
            product_flops: tensor.or(tf32).map_or(plain * efficiency.plain, |rate| rate * efficiency.tensor),
            exact_flops: plain * efficiency.plain,
            attention_flops: match tensor {
                Some(rate) if is_ampere => rate * efficiency.attention,
                _ => plain * efficiency.plain_attention,
            },
            bytes: card.bandwidth_gb_s * 1e9 * efficiency.memory,
            launch: efficiency.launch,
        }
    }

    fn seconds(&self, steps: &[Step]) -> f64 {
        let of = |step: &Step| {
            let arithmetic = step.product_flops / self.product_flops
                + step.exact_flops / self.exact_flops
                + step.attention_flops / self.attention_flops;
            arithmetic.max(step.moved_bytes as f64 / self.bytes) + f64::from(step.launches) * self.launch
        };
        steps.iter().map(of).sum()
    }
}

/// Seconds of one batch.
#[derive(Debug, Clone, Copy)]
struct Times {
    tokenise: f64,
    to_device: f64,
    compute: f64,
    from_device: f64,
}

impl Times {
    /// From when the batch is ready until its answers are there.
    fn on_card(&self) -> f64 {
        self.to_device + self.compute + self.from_device
    }
}

struct Host<'a> {
    settings: &'a Settings,
    efficiency: Efficiency,
    card: &'a Card,
}

impl Host<'_> {
    fn times(&self, graph: &Graph, shape: &Shape, compute: f64) -> Times {
        let output = graph.output();
        let rows = shape.count(graph.rows(output));
        // Three words a token, two a sequence; answers are fp32.
        let to_device = self.copy(4 * (3 * shape.places + 2 * shape.lengths.len()));
        let from_device = self.copy(4 * rows * graph.columns(output));
        // Laying out a batch and making answers are left out: less than a hundredth of what tokenising takes.
        let workers = self.settings.num_workers.max(1) as f64;
        let tokenise = shape.tokens() as f64 * self.efficiency.token / workers;
        Times { tokenise, to_device, compute, from_device }
    }

    fn copy(&self, bytes: usize) -> f64 {
        let share = match self.settings.transfers {
            Transfers::Blocking => self.efficiency.pageable,
            Transfers::Pinned | Transfers::NonBlocking => self.efficiency.pinned,
        };
        // Where memory is shared nothing is copied, and every card that is predicted for has a link.
        let link = self.card.link_gb_s().map_or(f64::INFINITY, |link| link * 1e9 * share);
        self.efficiency.copy + bytes as f64 / link
    }
}

/// A pass of these batches, as the pipeline would have seen it.
fn assemble(settings: &Settings, batches: &Batches, times: &[Times]) -> Pass {
    let sum = |part: fn(&Times) -> f64| times.iter().map(part).sum::<f64>();
    let mut split = Split {
        tokenise: sum(|times| times.tokenise),
        to_device: sum(|times| times.to_device),
        compute: sum(|times| times.compute),
        from_device: sum(|times| times.from_device),
        ..Split::default()
    };
    if settings.transfers == Transfers::NonBlocking {
        // Copies go on while the card computes, and the host prepares the next batch meanwhile: whoever takes longer is
        // waited for. Only the first batch is prepared, and the last one's answers come, while nothing else goes on.
        let prepared_later = times.iter().skip(1).map(|times| times.tokenise).chain([0.0]);
        let waited: f64 =
            times.iter().zip(prepared_later).map(|(own, next)| (next - own.compute).max(0.0)).sum();
        split.tokenise = times.first().map_or(0.0, |first| first.tokenise) + waited;
        split.to_device = times.first().map_or(0.0, |first| first.to_device);
        split.from_device = times.last().map_or(0.0, |last| last.from_device);
    }
    let shapes = &batches.of_pass;
    Pass {
        seconds: split.parts().iter().sum(),
        documents: shapes.iter().map(|shape| shape.lengths.len() as u64).sum(),
        tokens: shapes.iter().map(|shape| shape.tokens() as u64).sum(),
        padded_tokens: shapes.iter().map(|shape| shape.places as u64).sum(),
        batch_seconds: times
            .iter()
            .map(|times| match settings.transfers {
                Transfers::NonBlocking => times.on_card(),
                // The pipeline counts preparing a batch to it.
                _ => times.on_card() + times.tokenise,
            })
            .collect(),
        split,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hardware::cards;
    use crate::predict::cost::tests::{HALF, bert};
    use crate::predict::{Engine, Method};
    use crate::task::Task;

    fn card(name: &str) -> &'static Card {
        cards().iter().find(|card| card.name == name).unwrap()
    }

    fn of(method: Method, settings: &Settings, card_name: &str) -> (Pass, Between) {
        let shape = Shape { places: 256 * 100, lengths: vec![100; 256], ..Shape::default() };
        let batches = Batches { longest: None, of_pass: vec![shape; 4] };
        pass(&bert(Task::Embed), method, settings, &batches, card(card_name))
    }

    #[test]
    fn an_operation_takes_as_long_as_what_holds_it_back() {
        let efficiency = Efficiency::bounds(Engine::Candle)[0];
        let speed = Speed::of(card("rtx3090"), HALF, efficiency);
        let seconds = |step: Step| speed.seconds(&[step]);
        let by_arithmetic = Step { product_flops: 71e12 * 0.75, moved_bytes: 1, ..Step::default() };
        assert!((seconds(by_arithmetic) - 1.0).abs() < 0.01, "{}", seconds(by_arithmetic));
        let by_memory = Step { product_flops: 1.0, moved_bytes: 936_000_000_000, ..Step::default() };
        assert!((seconds(by_memory) - 1.0 / 0.9).abs() < 1e-9);
        let launches = Step { launches: 10, ..Step::default() };
        assert!((seconds(launches) - 20e-6).abs() < 1e-12);
    }

    #[test]
    fn a_faster_card_and_fewer_bits_are_faster() {
        let settings = Settings { transfers: Transfers::NonBlocking, num_workers: 64, ..Settings::default() };
        let seconds = |method, card| of(method, &settings, card).0.seconds;
        let single = Method { numbers: Numbers::Float32, ..HALF };
        assert!(seconds(HALF, "h200") < seconds(HALF, "rtx3090"));
        assert!(seconds(HALF, "rtx3090") < seconds(HALF, "t4"));
        assert!(seconds(HALF, "rtx3090") < seconds(single, "rtx3090"));
        let tf32 = Method { tf32: true, ..single };
        assert!(seconds(tf32, "h200") < seconds(single, "h200"));
        assert_eq!(seconds(tf32, "t4"), seconds(single, "t4"));
    }

    #[test]
    fn the_pass_is_within_its_own_bounds_and_adds_up() {
        for transfers in [Transfers::Blocking, Transfers::NonBlocking] {
            let settings = Settings { transfers, ..Settings::default() };
            let (pass, between) = of(HALF, &settings, "rtx3090");
            assert!(between.low < 0.9 && between.high > 1.1, "{between:?}");
            assert_eq!((pass.documents, pass.tokens, pass.padded_tokens), (1024, 102_400, 102_400));
            assert_eq!(crate::worker::protocol::implausible(&pass), None);
            let ort = of(Method { engine: Engine::Ort, ..HALF }, &settings, "rtx3090").1;
            assert!(ort.high / ort.low > between.high / between.low);
        }
        let seconds = |transfers| of(HALF, &Settings { transfers, ..Settings::default() }, "t4").0.seconds;
        assert!(seconds(Transfers::NonBlocking) < seconds(Transfers::Blocking));
    }
}
