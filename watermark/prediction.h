// What the marked density promises without any training: how many bits a pruned network should lose.
#pragma once

namespace dw {

/// Bit error rate to expect after the smallest `pruned_fraction` of all weights became zero, where a bit's
/// weights are independent draws from p_a over the standard normal density, `weights_per_bit` of them on
/// average. A bit's score then has mean m E[φ; |v| > t] and variance m E[φ²; |v| > t] (how many weights a bit
/// owns is Poisson), and is taken to be normal: Φ(-mean / deviation). A bit that kept no weight counts as an
/// error. Good while a bit keeps ten weights or more. Error: arguments out of range.
///
/// A trained mark does better: its loss pulls every single bit up to the target, which leaves less variance
/// than independent draws have.
double predicted_bit_error_rate(double amplitude, double tau, double weights_per_bit, double pruned_fraction);

}  // namespace dw
