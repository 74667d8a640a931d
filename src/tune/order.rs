//! What somebody wants tuned, and the run that this begins.

use std::path::PathBuf;

use super::budget::StageBudget;
use super::job::Job;
use super::prior;
use crate::addon::Tell;
use crate::backend::fake;
use crate::emit::env;
use crate::hardware::{Machine, Provenance, Target, TargetError};
use crate::store::{RunFolder, RunHeader, digests, fresh_digest};
use crate::suite::{self, Engine, Material, Overrides, Problem, SearchKind, Suite, SuiteSource};

/// The suite that is tuned when none is named, on the processor…
const DEFAULT_SUITE: &str = "minilm";
/// …and on a GPU, or for one.
const GPU_SUITE: &str = "minilm-gpu";

/// A run that isn't begun yet.
pub struct Order {
    /// The target, as `--gpu` takes it.
    pub gpu: String,
    /// A size or a card's name, where a smaller card is emulated.
    pub emulate_vram: Option<String>,
    /// A suite's name or file.
    pub suite: Option<String>,
    pub overrides: Overrides,
    /// The run's folder, where it isn't to have a name of its own.
    pub out: Option<PathBuf>,
    /// Refuse anything but a measurement on the target itself.
    pub measured: bool,
    /// Predict, even if the target is in this machine.
    pub predicted: bool,
    /// The folder of a run that tells what may be expected.
    pub prior: Option<PathBuf>,
    /// The command as a person would type it again.
    pub command_line: Vec<String>,
}

impl Order {
    /// Reads the suite and its corpus, chooses the target, and makes the run's folder.
    pub fn begin(self, tell: &dyn Tell) -> anyhow::Result<Job> {
        let machine = Machine::here();
        let source = SuiteSource::find(self.suite.as_deref().unwrap_or_else(|| {
            // A target that isn't one is refused below.
            let is_gpu = Target::resolve(&self.gpu, &machine).is_ok_and(|target| target.is_gpu());
            if is_gpu { GPU_SUITE } else { DEFAULT_SUITE }
        }))?;
        let mut suite = suite::parse(&source, &self.overrides, &env::names())?;
        let mut target = self.target(&suite, &machine)?;
        // What a prediction says of itself is no surer on other documents.
        suite.confirm &= target.provenance != Provenance::Predicted;
        let material = suite.material(&source.folder)?;
        suite.without_labels(|stage| material.judging.contains_key(stage))?;
        material.notes.iter().for_each(|note| tell.say(note));
        if self.prior.is_some() && suite.search != SearchKind::Guided {
            let why =
                "only the guided search begins with what another run found: use it with --search guided";
            return Err(Problem::new("--prior", why).into());
        }
        if self.prior.is_some() && target.provenance == Provenance::Predicted {
            let why =
                "nothing is searched where everything is predicted: leave it out, or measure on the card";
            return Err(Problem::new("--prior", why).into());
        }
        if let Some(device) = &target.device {
            let choice = match self.gpu.as_str() {
                "auto" => target.choice(&machine),
                _ => format!("{device}, {}", target.description),
            };
            tell.say(&format!("target: {choice}"));
        }
        if suite.lacks_price() {
            target.price_per_hour = target.card().and_then(|card| card.price_per_hour);
        }
        let started = jiff::Timestamp::now();
        let folder = self.out.unwrap_or_else(|| {
            let time = started.strftime("%Y%m%d-%H%M%S");
            let name = format!("results/runs/{time}-{}-{}", suite.name, target.name);
            // Two that are started within a second.
            let numbered = (2..).map(|number| format!("{name}-{number}"));
            let mut names = std::iter::once(name.clone()).chain(numbered).map(PathBuf::from);
            names.find(|folder| !folder.exists()).unwrap_or_else(|| PathBuf::from(&name))
        });
        // Absolute: the worker reads the corpus in it from wherever the worker is started.
        let folder = std::path::absolute(folder)?;
        // Paths stand in requests and in the journal, which are JSON.
        if folder.to_str().is_none() {
            let why = "the run's folder has a name that isn't UTF-8: choose another with --out, or start in another folder";
            return Err(Problem::new(format!("--out {}", folder.display()), why).into());
        }
        let (corpus_digest, judging_digests) = digests(&material);
        suite.take_price(target.price_per_hour);
        suite.check_price(&source.file)?;
        let prior = self.prior.as_deref().map(|folder| prior::of_run(folder, &suite)).transpose()?;
        if let Some(prior) = &prior {
            let told: usize = prior.told.values().map(Vec::len).sum();
            tell.say(&format!("prior: {told} configurations of {}", prior.run));
            if StageBudget::measures_all(&suite) {
                tell.say("prior: not used, because the budget has room for every configuration");
            }
        }
        tell.say(&said_of(&material));
        let header = RunHeader {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            revision: env!("AUTOTUNE_REVISION").to_owned(),
            command_line: self.command_line,
            suite_digest: suite.digest.clone(),
            corpus_digest,
            fresh_digest: fresh_digest(&material),
            judging_digests,
            source,
            overrides: self.overrides,
            target,
            machine: machine.clone(),
            prior: prior.clone(),
        };
        let (source_folder, target) = (header.source.folder.clone(), header.target.clone());
        let folder = RunFolder::create(&folder, header, &material)?;
        Ok(Job { suite, target, machine, material, source_folder, folder, prior, before: None })
    }

    /// A suite that measures nothing real needs no GPU, and gets no name of a real one but as a label.
    fn target(&self, suite: &Suite, machine: &Machine) -> anyhow::Result<Target> {
        if self.predicted {
            // A card that is hidden can be predicted like any other.
            let gpus = machine.gpus.iter().filter(|gpu| !gpu.name.contains(" MIG ")).cloned().collect();
            let machine = Machine { hidden: Vec::new(), gpus, ..machine.clone() };
            return Ok(Target::resolve(&self.gpu, &machine)?.to_predict()?);
        }
        let target = target_of(&self.gpu, suite, machine, self.measured)?;
        Ok(match &self.emulate_vram {
            Some(wanted) => target.with_emulated_vram(wanted)?,
            None => target,
        })
    }
}

/// How much of the corpus is used for what.
fn said_of(material: &Material) -> String {
    let documents = |count: usize| match count {
        1 => "1 document".to_owned(),
        count => format!("{count} documents"),
    };
    let mut said = format!("corpus: {} to measure on", documents(material.documents.len()));
    if !material.fresh.is_empty() {
        said.push_str(&format!(", {} others to confirm the winner", material.fresh.len()));
    }
    for (stage, judging) in &material.judging {
        said.push_str(&format!(", {} texts to judge {stage} by", judging.items.len()));
    }
    said
}

/// What `--gpu` means for a suite. A card that isn't here is an error where it must be `measured`.
pub fn target_of(gpu: &str, suite: &Suite, machine: &Machine, measured: bool) -> Result<Target, TargetError> {
    let scripts: Vec<_> = suite.backends.iter().filter(|backend| backend.kind == fake::NAME).collect();
    if scripts.len() < suite.backends.len() {
        let target = Target::resolve(gpu, machine)?;
        if measured && target.provenance == Provenance::Predicted {
            let (name, here) = (target.title().to_owned(), machine.gpu_line());
            return Err(TargetError::NotMeasurable { name, here });
        }
        return Ok(target);
    }
    if measured {
        return Err(TargetError::NothingReal);
    }
    let version = |engine: &Engine| match engine {
        Engine::BuiltIn { settings } => settings["version"].as_str().unwrap_or_default().to_owned(),
        Engine::Command { .. } => String::new(),
    };
    let versions: Vec<String> = scripts.iter().map(|backend| version(&backend.engine)).collect();
    Ok(Target::simulated(Some(gpu), &versions.join(", ")))
}
