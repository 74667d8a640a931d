//! Keys and queries of distances, which disentangled attention holds against those of tokens. They come of weights alone, so each
//! engine makes them once, at the load.

use candle_core::{Device, Tensor};

use crate::model::graph::{Disentangled, Norm, Projection};
use crate::model::{ModelError, Weights};

/// A row for each row of the network's table of distances.
pub struct ByDistance {
    pub keys: Vec<f32>,
    pub queries: Vec<f32>,
}

impl ByDistance {
    pub fn of(disentangled: &Disentangled, weights: &Weights) -> Result<ByDistance, ModelError> {
        let Disentangled { table, norm, query, key, .. } = disentangled;
        let width = table.shape[1];
        let mut rows = weights.floats(&table.name)?.into_owned();
        if let Some(norm) = norm {
            normalise(&mut rows, width, norm, weights)?;
        }
        let rows = Tensor::from_vec(rows, (table.shape[0], width), &Device::Cpu).map_err(failed)?;
        Ok(ByDistance { keys: project(&rows, key, weights)?, queries: project(&rows, query, weights)? })
    }
}

fn failed(error: candle_core::Error) -> ModelError {
    ModelError::Unfit(format!("the table of distances can't be projected: {error}"))
}

fn project(rows: &Tensor, projection: &Projection, weights: &Weights) -> Result<Vec<f32>, ModelError> {
    let Projection { weight, bias } = projection;
    let (numbers, shape) = (weights.floats(&weight.name)?, weight.shape.as_slice());
    let bias = weights.floats(&bias.name)?;
    let product = || {
        let weight = Tensor::from_slice(&numbers, shape, &Device::Cpu)?;
        let bias = Tensor::from_slice(&bias, bias.len(), &Device::Cpu)?;
        rows.matmul(&weight.t()?)?.broadcast_add(&bias)?.flatten_all()?.to_vec1()
    };
    product().map_err(failed)
}

fn normalise(rows: &mut [f32], width: usize, norm: &Norm, weights: &Weights) -> Result<(), ModelError> {
    let weight = weights.floats(&norm.weight.name)?;
    let bias = norm.bias.as_ref().map(|bias| weights.floats(&bias.name)).transpose()?;
    for row in rows.chunks_exact_mut(width) {
        let mean = row.iter().copied().map(f64::from).sum::<f64>() / width as f64;
        let square = |number: f32| (f64::from(number) - mean).powi(2);
        let variance = row.iter().copied().map(square).sum::<f64>() / width as f64;
        let scale = 1.0 / (variance + f64::from(norm.epsilon)).sqrt();
        for (place, number) in row.iter_mut().enumerate() {
            let shift = bias.as_ref().map_or(0.0, |bias| bias[place]);
            *number = ((f64::from(*number) - mean) * scale) as f32 * weight[place] + shift;
        }
    }
    Ok(())
}
