//! Activations, over slices.

use super::exp::{erf, exp};
use crate::model::graph::Activation;

/// Applies it to every number.
pub fn apply(activation: Activation, numbers: &mut [f32]) {
    match activation {
        Activation::Gelu => gelu(numbers),
        Activation::GeluTanh => gelu_tanh(numbers),
        Activation::Relu => relu(numbers),
        Activation::Silu => silu(numbers),
        Activation::Tanh => tanh(numbers),
    }
}

vectorised! {
    fn gelu(numbers: &mut [f32]) {
        for x in numbers {
            let half = 0.5 * *x;
            *x = half.mul_add(erf(*x * std::f32::consts::FRAC_1_SQRT_2), half);
        }
    }
}

vectorised! {
    fn gelu_tanh(numbers: &mut [f32]) {
        // sqrt(2 / π), and a coefficient of the approximation's authors.
        const SLOPE: f32 = 0.797_884_6;
        for x in numbers {
            let inner = SLOPE * *x * (0.044_715 * *x).mul_add(*x, 1.0);
            *x /= 1.0 + exp(-2.0 * inner);
        }
    }
}

vectorised! {
    fn relu(numbers: &mut [f32]) {
        // Not `max`, which takes what isn't a number for zero.
        numbers.iter_mut().for_each(|x| *x = if *x < 0.0 { 0.0 } else { *x });
    }
}

vectorised! {
    fn silu(numbers: &mut [f32]) {
        numbers.iter_mut().for_each(|x| *x /= 1.0 + exp(-*x));
    }
}

vectorised! {
    fn tanh(numbers: &mut [f32]) {
        numbers.iter_mut().for_each(|x| *x = 1.0 - 2.0 / (1.0 + exp(2.0 * *x)));
    }
}

/// `numbers[i] = activation(numbers[i]) × gates[i]`.
pub fn gate(activation: Activation, numbers: &mut [f32], gates: &[f32]) {
    apply(activation, numbers);
    numbers.iter_mut().zip(gates).for_each(|(number, gate)| *number *= gate);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn activations_are_what_their_names_say() {
        let numbers: Vec<f32> = (-400..400).map(|step| step as f32 * 0.02).collect();
        let check = |activation, wanted: &dyn Fn(f64) -> f64| {
            let mut given = numbers.clone();
            apply(activation, &mut given);
            for (x, given) in numbers.iter().zip(given) {
                let wanted = wanted(f64::from(*x));
                assert!((f64::from(given) - wanted).abs() < 2e-6, "{activation:?} {x}: {given} {wanted}");
            }
        };
        let tanh = |x: f64| (0.797_884_560_8 * (x + 0.044_715 * x.powi(3))).tanh();
        check(Activation::GeluTanh, &|x| 0.5 * x * (1.0 + tanh(x)));
        check(Activation::Gelu, &|x| 0.5 * x * (1.0 + f64::from(erf((x / 2f64.sqrt()) as f32))));
        check(Activation::Relu, &|x| x.max(0.0));
        check(Activation::Silu, &|x| x / (1.0 + (-x).exp()));
        check(Activation::Tanh, &f64::tanh);
    }
}
