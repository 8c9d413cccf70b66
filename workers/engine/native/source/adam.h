// Clipping of the gradient norm and Adam (Kingma, Ba 2015, Algorithm 1), as torch does them.
#pragma once
#include <algorithm>
#include <cmath>

#include "pool.h"
#include "vec.h"

namespace evo {

// Clipping multiplies gradients by this: limit / (norm + 1e-6), at most 1. A norm that overflows
// gives 0: the step counts as one of zero gradients; a NaN stays a NaN and ends the training at the next loss.
template <class R> R clip_factor(const R *g, long numbers, R limit) {
  constexpr long PIECE = 512;  // summed in R, the pieces in double: accurate and fast
  double total = 0;
  for (long begin = 0; begin < numbers; begin += PIECE) {
    const long end = std::min(numbers, begin + PIECE);
    Vec<R> sums{};
    long i = begin;
    for (; i + WIDTH<R> <= end; i += WIDTH<R>) {
      const Vec<R> x = load(g + i);
      sums += x * x;
    }
    R sum = 0;
    for (int c = 0; c < WIDTH<R>; ++c) sum += sums[c];
    for (; i < end; ++i) sum += g[i] * g[i];
    total += double(sum);
  }
  const R norm = R(std::sqrt(total));
  const R factor = limit / (norm + R(1e-6));
  return factor > R(1) ? R(1) : factor;
}

template <class R>
void adam_range(R *__restrict p, const R *__restrict g, R *__restrict m, R *__restrict v, long first,
                long last, R factor, R rate, R root_correction) {
  const R b1 = R(0.9), b2 = R(0.999), eps = R(1e-8);
  for (long i = first; i < last; ++i) {
    const R x = g[i] * factor;
    m[i] += (R(1) - b1) * (x - m[i]);
    v[i] = b2 * v[i] + (R(1) - b2) * x * x;
    p[i] -= rate * m[i] / (std::sqrt(v[i]) / root_correction + eps);
  }
}

// Step `count` (from 1) of Adam with the learning rate `rate`.
template <class R>
void adam(R *p, const R *g, R *m, R *v, long numbers, R factor, double rate, long count,
          Pool &pool) {
  const double first = 1 - std::pow(0.9, double(count)), second = 1 - std::pow(0.999, double(count));
  pool.run(20 * numbers, [&](int k, int of) {
    auto cut = [&](int i) { return i == of ? numbers : numbers * i / of / 64 * 64; };
    adam_range(p, g, m, v, cut(k), cut(k + 1), factor, R(rate / first), R(std::sqrt(second)));
  });
}

}  // namespace evo
