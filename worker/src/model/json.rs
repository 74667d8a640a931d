//! Files of JSON in a model's folder.

use std::path::Path;

use serde::de::DeserializeOwned;

use super::error::ModelError;

pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, ModelError> {
    let bytes = std::fs::read(path).map_err(|error| ModelError::file(path, error))?;
    serde_json::from_slice(&bytes).map_err(|error| ModelError::file(path, error))
}
