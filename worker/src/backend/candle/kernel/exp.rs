//! Exponential and error functions that compilers can vectorise: no branch, no table, no call.

/// e to the power of `x`, to two units in the last place for what softmax asks; zero far below zero.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    // Below this the result is no normal number, and softmax doesn't miss it; above the other it overflows.
    let x = x.clamp(-87.3, 88.7);
    // Adding 1.5 × 2²³ rounds to a whole number and leaves it in the low bits.
    const ROUND: f32 = 12_582_912.0;
    let shifted = x.mul_add(std::f32::consts::LOG2_E, ROUND);
    let whole = shifted - ROUND;
    // ln 2 in two parts, so that the remainder is exact.
    let rest = whole.mul_add(-0.693_359_4, x);
    let rest = whole.mul_add(2.121_944_4e-4, rest);
    // The Taylor series of e^r up to r⁶: |r| ≤ ln 2 / 2, so what is left out is below 2⁻²³.
    let mut power = 1.0 / 720.0;
    for coefficient in [1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        power = rest.mul_add(power, coefficient);
    }
    let scale = f32::from_bits(shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127) << 23);
    power * scale
}

/// The error function, to 4e-7: a rational function of odd degree 13 over even degree 8, fitted where it isn't ±1 yet.
#[inline(always)]
pub fn erf(x: f32) -> f32 {
    let x = x.clamp(-4.0, 4.0);
    let square = x * x;
    const OVER: [f32; 7] = [
        -2.726_142_3e-10,
        2.770_681_4e-8,
        -2.101_024e-6,
        -5.692_506_4e-5,
        -7.349_906e-4,
        -2.954_6e-3,
        -1.609_603_3e-2,
    ];
    const UNDER: [f32; 5] = [-1.456_607_2e-5, -2.133_740_5e-4, -1.682_827e-3, -7.373_329e-3, -1.426_474e-2];
    let series = |coefficients: &[f32]| {
        coefficients.iter().fold(0.0f32, |sum, coefficient| sum.mul_add(square, *coefficient))
    };
    x * series(&OVER) / series(&UNDER)
}

#[cfg(test)]
mod tests {
    #[test]
    fn exp_is_right_over_its_whole_range() {
        for step in -87_000..88_000 {
            let x = step as f32 * 1e-3;
            let (given, wanted) = (super::exp(x), f64::from(x).exp());
            assert!((f64::from(given) / wanted - 1.0).abs() < 3e-7, "{x}: {given} {wanted}");
        }
        assert_eq!(super::exp(0.0), 1.0);
        assert!(super::exp(f32::NEG_INFINITY) < 2e-38);
    }

    #[test]
    fn erf_is_right_where_it_bends_and_where_it_is_flat() {
        // By its series, in double precision, which converges fast enough below 4.
        let wanted = |x: f64| {
            let (mut term, mut sum) = (x, x);
            for n in 1..200 {
                term *= -x * x / f64::from(n);
                sum += term / f64::from(2 * n + 1);
            }
            sum * std::f64::consts::FRAC_2_SQRT_PI
        };
        for step in -3900..=3900 {
            let x = f64::from(step) * 1e-3;
            let given = f64::from(super::erf(x as f32));
            assert!((given - wanted(x)).abs() < 5e-7, "{x}: {given} {}", wanted(x));
        }
        assert!((super::erf(50.0) - 1.0).abs() < 5e-7 && (super::erf(-50.0) + 1.0).abs() < 5e-7);
    }
}
