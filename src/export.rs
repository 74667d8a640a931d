//! The winning models and their settings, ready to deploy.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::analysis::{self, StageAnalysis};
use crate::backend::{DTYPE, ort};
use crate::emit::dialect::Dialect;
use crate::model::Model;
use crate::provision;
use crate::report;
use crate::store::Run;
use crate::suite::{Engine, Stage, Suite};

/// What lies beside the weights in a model's folder, and is needed to run them.
const BESIDE: [&str; 6] = [
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "modules.json",
    "1_Pooling/config.json",
];

/// What came of a stage.
pub struct Exported {
    pub stage: String,
    /// The model's file or folder; nothing where no candidate can win.
    pub written: Option<PathBuf>,
}

/// Writes the winner of each stage into `folder`: as an ONNX file in the precision `wanted`, if that is given, or else as its
/// engine reads it. Ends at a stage without a winner.
pub fn export(
    run: &Run,
    folder: &Path,
    wanted: Option<&str>,
    tell: &dyn Fn(&str),
) -> anyhow::Result<Vec<Exported>> {
    let suite = report::suite_of(run)?;
    let analysis = analysis::analyse(&suite, run);
    // What runs it is of no interest any more: only models are.
    let folders = provision::folders(&suite, tell);
    let mut exported = Vec::new();
    for (stage, outcome) in suite.stages.iter().zip(&analysis.stages) {
        let Some(winner) = outcome.winner() else {
            exported.push(Exported { stage: stage.name.clone(), written: None });
            return Ok(exported);
        };
        let candidate = &winner.summary.candidate;
        let model = match folders.get(&stage.name) {
            Some(Ok(model)) => model,
            Some(Err(failure)) => anyhow::bail!("{}: {}", stage.name, failure.reason),
            None => anyhow::bail!(
                "{}: the backend {} uses its own model, so there is nothing to export",
                stage.name,
                candidate.backend
            ),
        };
        let target = folder.join(&stage.name);
        fs::create_dir_all(&target).with_context(|| target.display().to_string())?;
        copy_beside(model, &target)?;
        let wants_onnx = is_ort(&suite, &candidate.backend)
            && candidate.word(ort::GRAPH.name) != ort::GRAPH.word(ort::Source::File);
        let written = match wanted {
            Some(dtype) => onnx(stage, model, dtype, &target)?,
            None if is_ort(&suite, &candidate.backend) && !wants_onnx => anyhow::bail!(
                "{}: the winner uses the ONNX file in the model folder {} unchanged, so there is nothing to export",
                stage.name,
                model.display()
            ),
            None if wants_onnx => onnx(stage, model, &candidate.word(DTYPE), &target)?,
            None => copy_weights(model, &target)?,
        };
        write_settings(outcome, &target)?;
        exported.push(Exported { stage: stage.name.clone(), written: Some(written) });
    }
    let settings = run.path.join(".env.optimized");
    let dialect = Dialect::find(&suite.dialect)?;
    let accepted = |outcome: &StageAnalysis| {
        let winner = outcome.winner();
        winner.is_some_and(|winner| dialect.accepts(outcome.task, &winner.summary.candidate))
    };
    if !analysis.stages.iter().all(accepted) {
        tell(&format!(
            "{} is for other configurations than the winners, and isn't copied",
            settings.display()
        ));
    } else if settings.exists() {
        copy(&settings, &folder.join(".env.optimized"))?;
    }
    Ok(exported)
}

fn is_ort(suite: &Suite, backend: &str) -> bool {
    let chosen = suite.backend(backend);
    chosen
        .is_some_and(|backend| backend.kind == ort::NAME && matches!(backend.engine, Engine::BuiltIn { .. }))
}

/// OpenVINO computes bf16 out of an fp32 graph; every other precision is in the file.
fn onnx(stage: &Stage, model: &Path, dtype: &str, target: &Path) -> anyhow::Result<PathBuf> {
    let dtype = if dtype == "bf16" { "fp32" } else { dtype };
    let model = Model::open(model, stage.task, stage.prompt.as_ref())?;
    Ok(ort::export(&model, dtype, target)?)
}

fn copy_beside(model: &Path, target: &Path) -> anyhow::Result<()> {
    for file in BESIDE.iter().map(Path::new).filter(|file| model.join(file).is_file()) {
        if let Some(parent) = target.join(file).parent() {
            fs::create_dir_all(parent).with_context(|| parent.display().to_string())?;
        }
        copy(&model.join(file), &target.join(file))?;
    }
    Ok(())
}

/// A file that is copied onto itself would be emptied.
fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    let same = to.canonicalize().is_ok_and(|to| from.canonicalize().is_ok_and(|from| from == to));
    if !same {
        fs::copy(from, to).with_context(|| from.display().to_string())?;
    }
    Ok(())
}

/// candle reads the checkpoint as it is, and makes the precision when it loads.
fn copy_weights(model: &Path, target: &Path) -> anyhow::Result<PathBuf> {
    for entry in fs::read_dir(model).with_context(|| model.display().to_string())? {
        let name = entry?.file_name();
        let text = name.to_string_lossy();
        let is_weights = [".safetensors", ".safetensors.index.json", "pytorch_model.bin", "_linear.pt"];
        if is_weights.iter().any(|ending| text.ends_with(ending)) {
            copy(&model.join(&name), &target.join(&name))?;
        }
    }
    Ok(target.to_owned())
}

/// The winner's knobs and figures, for whoever deploys by a program.
fn write_settings(outcome: &StageAnalysis, target: &Path) -> anyhow::Result<()> {
    let file = target.join("autotune.json");
    let text = serde_json::to_string_pretty(&outcome.winner())? + "\n";
    fs::write(&file, text).with_context(|| file.display().to_string())
}
