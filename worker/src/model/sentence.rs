//! What sentence-transformers keeps beside a model: how a vector comes from the tokens.

use std::path::Path;

use serde::Deserialize;

use super::arch::Embedding;
use super::error::ModelError;
use super::graph::Pooling;

#[derive(Deserialize)]
struct Module {
    path: String,
    #[serde(rename = "type")]
    kind: String,
}

/// Reads `modules.json` and what it names. Without it the defaults hold.
pub(super) fn read(folder: &Path) -> Result<Embedding, ModelError> {
    let path = folder.join("modules.json");
    if !path.exists() {
        return Ok(Embedding::default());
    }
    let modules: Vec<Module> = super::json::read_json(&path)?;
    let mut embedding = Embedding::default();
    for module in &modules {
        let kind = module.kind.rsplit('.').next().unwrap_or_default();
        match kind {
            "Transformer" => {}
            "Pooling" => {
                if !is_beside(&module.path) {
                    return Err(ModelError::file(
                        &path,
                        format!("{:?} is not a folder beside it", module.path),
                    ));
                }
                embedding.pooling = pooling(&folder.join(&module.path).join("config.json"))?;
            }
            "Normalize" => embedding.normalise = true,
            other => {
                let why = format!("unsupported module {other:?}; supported: Transformer, Pooling, Normalize");
                return Err(ModelError::file(&path, why));
            }
        }
    }
    Ok(embedding)
}

/// A file comes from anywhere, and must not lead anywhere.
fn is_beside(path: &str) -> bool {
    Path::new(path).components().all(|part| matches!(part, std::path::Component::Normal(_)))
}

fn pooling(path: &Path) -> Result<Pooling, ModelError> {
    let config: serde_json::Value = super::json::read_json(path)?;
    let older = [
        ("pooling_mode_mean_tokens", Pooling::Mean),
        ("pooling_mode_cls_token", Pooling::First),
        ("pooling_mode_lasttoken", Pooling::Last),
    ];
    let newer = [("mean", Pooling::Mean), ("cls", Pooling::First), ("lasttoken", Pooling::Last)];
    let known = |mode: &str| newer.iter().find(|(name, _)| *name == mode).map(|(_, pooling)| *pooling);
    let unknown = |mode: &str| {
        ModelError::file(path, format!("unsupported pooling {mode:?}; supported: mean, cls, lasttoken"))
    };
    if let Some(mode) = config["pooling_mode"].as_str() {
        return known(mode).ok_or_else(|| unknown(mode));
    }
    let set = |key: &str| config[key].as_bool() == Some(true);
    let chosen: Vec<&str> = config
        .as_object()
        .into_iter()
        .flat_map(|keys| keys.keys())
        .map(String::as_str)
        .filter(|key| key.starts_with("pooling_mode_") && set(key))
        .collect();
    match chosen.as_slice() {
        [] => Ok(Pooling::Mean),
        [mode] => older
            .iter()
            .find(|(name, _)| name == mode)
            .map(|(_, pooling)| *pooling)
            .ok_or_else(|| unknown(mode)),
        several => Err(ModelError::file(path, format!("several poolings at once: {}", several.join(", ")))),
    }
}
