// The softmax denominator of some logits, computed in one pass (online softmax: Milakov & Gimelshein 2018).
// Apart from cross_entropy.cu so that its arithmetic is tested without a GPU.
#pragma once

#include <cmath>
#include <limits>

#include "kernels/hd.h"

namespace dw::cuda_backend {

/// sum = Σ exp(logit − maximum) over the logits added so far.
template <typename A>
struct SoftmaxPart {
  A maximum = -std::numeric_limits<A>::infinity();
  A sum = 0;

  HD void add(A logit) {
    if (logit > maximum) {
      sum = sum * std::exp(maximum - logit) + 1;
      maximum = logit;
    } else if (logit != -std::numeric_limits<A>::infinity()) {
      sum += std::exp(logit - maximum);  // a NaN logit makes it NaN
    }
  }

  HD void merge(const SoftmaxPart& other) {
    if (other.sum == 0) return;
    if (sum == 0) {
      *this = other;
      return;
    }
    const A larger = other.maximum > maximum ? other.maximum : maximum;
    sum = sum * std::exp(maximum - larger) + other.sum * std::exp(other.maximum - larger);
    maximum = larger;
  }

  HD A probability(A logit) const { return std::exp(logit - maximum) / sum; }
  HD A loss(A logit) const { return std::log(sum) - (logit - maximum); }
};

}  // namespace dw::cuda_backend
