//! Minimizing a smooth function without a learning rate: limited-memory BFGS.

use std::collections::VecDeque;

/// Pairs of differences that are remembered.
const MEMORY: usize = 10;

/// Minimizes `function` from `start`: it gets a point and a buffer for the gradient there, and
/// returns the value. Stops when a step improves the value by less than the share `tolerance` of
/// it, when none improves it, or after `iterations`.
///
/// Nocedal & Wright, "Numerical Optimization" (2nd ed.), algorithms 7.4 (two-loop recursion) and
/// 7.5, with a backtracking line search under the Armijo condition; a pair enters the memory only
/// if its curvature is positive, which keeps the direction one of descent.
///
/// # Errors
/// The function's.
pub fn minimize<E>(
    start: Vec<f64>,
    iterations: usize,
    tolerance: f64,
    mut function: impl FnMut(&[f64], &mut [f64]) -> Result<f64, E>,
) -> Result<Vec<f64>, E> {
    let mut point = start;
    let mut gradient = vec![0.0; point.len()];
    let mut value = function(&point, &mut gradient)?;
    let mut pairs: VecDeque<Pair> = VecDeque::with_capacity(MEMORY);
    for _ in 0..iterations {
        let steepness = dot(&gradient, &gradient).sqrt();
        if steepness == 0.0 || !steepness.is_finite() || !value.is_finite() {
            break;
        }
        let direction = direction(&gradient, &pairs);
        let slope = dot(&direction, &gradient);
        // The very first direction has no scale yet: begin with a step of length one.
        let mut length = if pairs.is_empty() { 1.0 / steepness } else { 1.0 };
        let mut next = vec![0.0; point.len()];
        let mut next_gradient = vec![0.0; point.len()];
        let mut improved = 0.0;
        for _ in 0..25 {
            for ((next, at), along) in next.iter_mut().zip(&point).zip(&direction) {
                *next = at + length * along;
            }
            let next_value = function(&next, &mut next_gradient)?;
            if next_value <= value + 1e-4 * length * slope {
                improved = value - next_value;
                value = next_value;
                break;
            }
            length *= 0.5;
        }
        if improved <= 0.0 {
            break;
        }
        let moved: Vec<f64> = next.iter().zip(&point).map(|(a, b)| a - b).collect();
        let turned: Vec<f64> = next_gradient.iter().zip(&gradient).map(|(a, b)| a - b).collect();
        let curvature = dot(&moved, &turned);
        if curvature > 1e-12 * dot(&turned, &turned) {
            if pairs.len() == MEMORY {
                pairs.pop_front();
            }
            pairs.push_back(Pair { moved, turned, curvature });
        }
        (point, gradient) = (next, next_gradient);
        if improved < tolerance * value.abs() {
            break;
        }
    }
    Ok(point)
}

/// How far a step moved, and how the gradient turned by it.
struct Pair {
    moved: Vec<f64>,
    turned: Vec<f64>,
    curvature: f64,
}

/// The negative gradient times the estimate of the inverse Hessian.
fn direction(gradient: &[f64], pairs: &VecDeque<Pair>) -> Vec<f64> {
    let mut direction: Vec<f64> = gradient.iter().map(|slope| -slope).collect();
    let mut weights = Vec::with_capacity(pairs.len());
    for pair in pairs.iter().rev() {
        let weight = dot(&pair.moved, &direction) / pair.curvature;
        add(&mut direction, -weight, &pair.turned);
        weights.push(weight);
    }
    if let Some(last) = pairs.back() {
        let scale = last.curvature / dot(&last.turned, &last.turned);
        direction.iter_mut().for_each(|along| *along *= scale);
    }
    for (pair, weight) in pairs.iter().zip(weights.into_iter().rev()) {
        let back = dot(&pair.turned, &direction) / pair.curvature;
        add(&mut direction, weight - back, &pair.moved);
    }
    direction
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn add(to: &mut [f64], factor: f64, what: &[f64]) {
    to.iter_mut().zip(what).for_each(|(to, what)| *to += factor * what);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_valley_of_rosenbrock_is_walked_to_its_end() {
        // Rosenbrock 1960: the minimum is 0 at (1, 1).
        let found = minimize(vec![-1.2, 1.0], 200, 0.0, |x, gradient| {
            let (a, b) = (1.0 - x[0], x[1] - x[0] * x[0]);
            gradient[0] = -2.0 * a - 400.0 * x[0] * b;
            gradient[1] = 200.0 * b;
            Ok::<_, ()>(a * a + 100.0 * b * b)
        });
        let found = found.unwrap();
        assert!((found[0] - 1.0).abs() < 1e-6 && (found[1] - 1.0).abs() < 1e-6, "{found:?}");
    }

    #[test]
    fn an_error_of_the_function_comes_back() {
        assert_eq!(minimize(vec![0.0], 5, 0.0, |_, _| Err("no")), Err("no"));
    }
}
