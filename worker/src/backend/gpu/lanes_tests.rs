//! Batches through lanes of a device whose queues run as late as they may.

use std::rc::Rc;

use super::driver::{DeviceError, Driver};
use super::lanes::{Computed, LANES, Lanes, Transfers};
use super::simulated::{POISON, Queue, Schedule, Simulated};
use crate::backend::BackendError;

/// A device with lanes, and an engine that answers a batch with each byte plus one.
struct Engine {
    device: Simulated,
    lanes: Lanes<Simulated>,
    compute: Queue,
}

impl Engine {
    fn new(transfers: Transfers, schedule: Schedule, capacity: usize) -> Engine {
        let device = Simulated::new(schedule, capacity);
        let mut lanes = Lanes::new(device.clone(), transfers).unwrap();
        lanes.poisons = true;
        let compute = device.queue().unwrap();
        Engine { device, lanes, compute }
    }

    fn submit(&mut self, batch: &[u8]) -> Result<(), BackendError> {
        let (device, compute, bytes) = (self.device.clone(), &self.compute, batch.len());
        self.lanes.submit(batch, compute, |from| {
            let answers = device.memory(bytes)?;
            let to = device.address(&answers);
            device.work("work", compute, move |bank| {
                let input = bank.at(from, bytes).to_vec();
                bank.at(to, bytes).iter_mut().zip(input).for_each(|(to, from)| *to = from.wrapping_add(1));
            });
            Ok(Computed { address: to, bytes, kept: Box::new(answers) })
        })
    }

    fn collect(&mut self) -> Vec<u8> {
        self.lanes.collect(|arrived| arrived.bytes.to_vec()).unwrap()
    }

    /// Batches of changing sizes and contents, as many at once as there are lanes, as the pipeline runs them.
    fn stream(&mut self, batches: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let mut answers = Vec::new();
        for batch in batches {
            self.submit(batch).unwrap();
            if self.lanes.is_full() {
                answers.push(self.collect());
            }
        }
        while answers.len() < batches.len() {
            answers.push(self.collect());
        }
        answers
    }
}

fn batches(count: usize) -> Vec<Vec<u8>> {
    let batch = |place: usize| (0..1 + place * 37 % 5000).map(|at| (at * 7 + place) as u8 % 200).collect();
    (0..count).map(batch).collect()
}

fn expected(batches: &[Vec<u8>]) -> Vec<Vec<u8>> {
    batches.iter().map(|batch| batch.iter().map(|byte| byte + 1).collect()).collect()
}

const PLENTY: usize = 1 << 30;

#[test]
fn every_way_to_travel_gives_every_batch_its_own_answers_whatever_runs_when() {
    let batches = batches(60);
    for (_, transfers) in Transfers::NAMES {
        let schedules = (0..40).map(Schedule::drawn).chain([Schedule::Late]);
        for schedule in schedules {
            let mut engine = Engine::new(transfers, schedule, PLENTY);
            assert_eq!(engine.stream(&batches), expected(&batches), "{transfers:?}");
        }
    }
}

#[test]
fn a_batch_is_copied_before_the_one_before_it_is_computed() {
    let mut engine = Engine::new(Transfers::NonBlocking, Schedule::Late, PLENTY);
    engine.submit(&[1; 10]).unwrap();
    engine.submit(&[2; 20]).unwrap();
    assert!(engine.lanes.is_full());
    // Nobody has waited for anything: all is still to come, and nothing of the host's may be touched.
    assert_eq!(engine.device.trace(), Vec::<String>::new());
    // Seen from the queue for copies to the device, nothing stands before the second batch's but the first's.
    engine.lanes.inbound_is_done();
    assert_eq!(engine.device.trace(), ["queue 0: copy in 10", "queue 0: copy in 20"]);
    assert_eq!(engine.collect(), [2; 10]);
    // The second batch isn't waited for.
    let trace = engine.device.trace();
    assert_eq!(trace[2..], ["queue 2: work", "queue 1: copy out 10"]);
    assert_eq!(engine.collect(), [3; 20]);
}

#[test]
fn one_thing_after_the_other_where_transfers_block() {
    for (transfers, copy_in, copy_out) in [
        (Transfers::Blocking, "copy in now 10", "copy out now 10"),
        (Transfers::Pinned, "queue 0: copy in 10", "queue 1: copy out 10"),
    ] {
        let mut engine = Engine::new(transfers, Schedule::Late, PLENTY);
        engine.submit(&[1; 10]).unwrap();
        // The copy has been waited for.
        assert_eq!(engine.device.trace(), [copy_in]);
        assert_eq!(engine.collect(), [2; 10]);
        assert_eq!(engine.device.trace(), [copy_in, "queue 2: work", copy_out]);
    }
}

#[test]
fn a_device_that_runs_late_shows_whoever_does_not_wait() {
    // The test of the tests: the same without the event between copy and compute reads poison.
    let device = Simulated::new(Schedule::Late, PLENTY);
    let (inbound, compute) = (device.queue().unwrap(), device.queue().unwrap());
    let (mut staging, memory) = (device.pinned(4).unwrap(), device.memory(4).unwrap());
    let (address, done) = (device.address(&memory), device.event().unwrap());
    staging.copy_from_slice(&[1, 2, 3, 4]);
    // SAFETY: the staging lives until the copy is waited for below.
    unsafe { device.copy_in(&staging, 4, address, &inbound).unwrap() };
    let seen = Rc::new(std::cell::RefCell::new(Vec::new()));
    let see = Rc::clone(&seen);
    device.work("work", &compute, move |bank| see.borrow_mut().extend_from_slice(bank.at(address, 4)));
    device.record(&done, &compute).unwrap();
    device.synchronise(&done).unwrap();
    assert_eq!(*seen.borrow(), [POISON; 4]);
    device.record(&done, &inbound).unwrap();
    device.synchronise(&done).unwrap();
}

#[test]
fn memory_runs_out_at_the_batch_that_is_too_large_and_the_next_one_still_works() {
    for (_, transfers) in Transfers::NAMES {
        // A lane's grain for the batch and as much again for its answers; twice, but not more.
        let mut engine = Engine::new(transfers, Schedule::Late, (1 << 18) + 2 * 4096);
        assert_eq!(engine.stream(&[vec![1; 4096]]), [vec![2; 4096]]);
        let error = engine.submit(&vec![1; 1 << 18]).unwrap_err();
        assert!(matches!(error, BackendError::OutOfMemory(_)), "{error}");
        assert_eq!(engine.stream(&[vec![3; 100], vec![4; 100]]), [vec![4; 100], vec![5; 100]]);
    }
}

#[test]
fn batches_count_towards_a_limit_and_what_is_let_go_of_does_not() {
    let mut engine = Engine::new(Transfers::Pinned, Schedule::Late, PLENTY);
    engine.stream(&[vec![1; 100]]);
    let held = engine.device.memory_held();
    assert!(held > 0);
    engine.device.limit_memory(held + 1000);
    let error = engine.submit(&vec![1; 1 << 18]).unwrap_err();
    assert!(matches!(error, BackendError::OutOfMemory(_)), "{error}");
    assert_eq!(engine.stream(&[vec![3; 100]]), [vec![4; 100]]);
    engine.lanes.let_go();
    assert!(engine.device.memory_held() < held);
    engine.device.limit_memory(u64::MAX);
    assert_eq!(engine.stream(&[vec![1; 1 << 18]]), [vec![2; 1 << 18]]);
}

#[test]
fn an_engine_that_fails_leaves_its_lane_to_the_next_batch() {
    for (_, transfers) in Transfers::NAMES {
        let mut engine = Engine::new(transfers, Schedule::Late, PLENTY);
        for _ in 0..3 * LANES {
            let failed =
                engine.lanes.submit(&[1; 8], &engine.compute, |_| Err(BackendError::Failed("no".into())));
            assert_eq!(failed, Err(BackendError::Failed("no".into())));
        }
        engine.submit(&[5; 8]).unwrap();
        assert_eq!(engine.collect(), [6; 8]);
        assert!(engine.lanes.collect(|_| ()).is_err(), "nothing is under way");
    }
}

#[test]
fn lanes_take_memory_once_and_not_for_each_batch() {
    let mut engine = Engine::new(Transfers::NonBlocking, Schedule::Late, PLENTY);
    engine.stream(&batches(20));
    let first = engine.device.allocated();
    engine.stream(&batches(200));
    assert_eq!(engine.device.allocated(), first);
}

#[test]
fn what_is_under_way_ends_before_its_memory_goes() {
    let mut engine = Engine::new(Transfers::NonBlocking, Schedule::Late, PLENTY);
    engine.submit(&[1; 10]).unwrap();
    engine.submit(&[2; 10]).unwrap();
    // Pinned memory that a copy still uses panics when it goes.
    drop(engine);
}

#[test]
fn errors_of_a_device_keep_their_meaning() {
    let of = |error: DeviceError| BackendError::from(error);
    assert_eq!(of(DeviceError::OutOfMemory("a".into())), BackendError::OutOfMemory("a".into()));
    assert_eq!(of(DeviceError::NotThere("a".into())), BackendError::NotAvailable("a".into()));
    assert_eq!(of(DeviceError::Failed("a".into())), BackendError::Failed("a".into()));
}
