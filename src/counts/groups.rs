//! The counts of one configuration, each from whoever decides it: the graph, the engine's plan, the pipeline's batches.

use indexmap::IndexMap;

use crate::analysis::counts::Group;
use crate::backend::candle::{Plan, Precision};
use crate::backend::{Device, ort};
use crate::knob::Candidate;
use crate::model::Graph;
use crate::predict::{Batches, Method, Shape, live_values, steps};
use crate::suite::ChosenBackend;

/// Counts by their names.
type Named = IndexMap<String, u64>;

/// What could be counted of a configuration, and what couldn't.
#[derive(Debug, Default)]
pub struct Groups {
    pub counted: IndexMap<Group, Named>,
    pub left_out: IndexMap<Group, String>,
    /// Whether another processor would give other counts.
    pub by_processor: bool,
}

/// Adds up what has the same name.
fn tally<Name: ToString>(counts: impl IntoIterator<Item = (Name, u64)>) -> Named {
    let mut sums = Named::new();
    for (name, count) in counts {
        *sums.entry(name.to_string()).or_default() += count;
    }
    sums
}

impl Groups {
    fn add<Name: ToString>(&mut self, group: Group, counts: impl IntoIterator<Item = (Name, u64)>) {
        self.counted.entry(group).or_default().extend(tally(counts));
    }

    fn leave_out(&mut self, groups: &[Group], why: impl ToString) {
        self.left_out.extend(groups.iter().map(|group| (*group, why.to_string())));
    }

    pub fn add_operations(&mut self, graph: &Graph) {
        let names = graph.operations.iter().map(|operation| (operation.name(), 1));
        self.add(Group::Operations, names);
    }

    pub fn add_candle(
        &mut self,
        graph: &Graph,
        backend: &ChosenBackend,
        candidate: &Candidate,
        batches: &Batches,
    ) {
        match Precision::on_processor(candidate) {
            Ok(precision) => {
                let plan = Plan::of(graph, precision);
                self.by_processor = precision == Precision::Eight;
                self.add(Group::Kernels, plan.kernels());
                self.add(Group::InPassing, plan.in_passing());
                self.add(Group::Weights, plan.weights());
                self.add(Group::Allocations, plan.allocations());
                let of_batch = |batch: &Shape| plan.copied(|rows| batch.count(rows), batch.tokens());
                self.add(Group::Copied, batches.of_pass.iter().flat_map(of_batch));
                let longest = batches.longest.clone().unwrap_or_default();
                let bytes = plan.slot_bytes(|rows| longest.count(rows));
                self.add(Group::Memory, [("slots of a thread", bytes)]);
            }
            Err(error) => {
                let kernels = [Group::Kernels, Group::InPassing, Group::Weights];
                self.leave_out(&[&kernels[..], &[Group::Allocations, Group::Copied]].concat(), error);
            }
        }
        match Method::of(backend, candidate) {
            Ok(method) => {
                // How many there are doesn't depend on the batch.
                let steps = steps(graph, method, &Shape::default());
                // Behind the operations the answer is widened, where it isn't fp32.
                let names = graph.operations.iter().map(|operation| operation.name());
                let names = names.chain(["conversion to fp32"]);
                let launches = steps.iter().map(|step| u64::from(step.launches));
                self.add(Group::LaunchesOnGpu, names.zip(launches));
            }
            Err(failure) => self.leave_out(&[Group::LaunchesOnGpu], failure.in_words()),
        }
    }

    pub fn add_ort(&mut self, graph: &Graph, candidate: &Candidate, packed: bool, batches: &Batches) {
        // Any of NVIDIA's cards: all are given the same graph.
        for (device, nodes, weights, copied) in [
            (Device::Processor, Group::Nodes, Group::Weights, Group::Copied),
            (Device::Cuda(0), Group::NodesOnGpu, Group::WeightsOnGpu, Group::CopiedOnGpu),
        ] {
            let of_pass = batches.of_pass.iter().map(|batch| batch.batch(packed));
            match ort::count(graph, candidate, device, packed, of_pass) {
                Ok(counted) => {
                    self.add(nodes, counted.nodes);
                    self.add(weights, counted.constants);
                    self.add(copied, counted.copied);
                }
                Err(error) => self.leave_out(&[nodes, weights, copied], error),
            }
        }
    }

    pub fn add_batches(&mut self, graph: &Graph, batches: &Batches) {
        if let Some(longest) = &batches.longest {
            self.add(Group::Memory, [("live values", live_values(graph, longest))]);
        }
        let sum = |of: fn(&Shape) -> usize| batches.of_pass.iter().map(of).sum::<usize>() as u64;
        self.add(
            Group::Pass,
            [
                ("documents", sum(|batch| batch.lengths.len())),
                ("batches", batches.of_pass.len() as u64),
                ("tokens", sum(Shape::tokens)),
                ("padded tokens", sum(|batch| batch.places - batch.tokens())),
            ],
        );
    }
}
