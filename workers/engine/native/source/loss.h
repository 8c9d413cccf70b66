// Losses of one row of predictions; the predictions become their own gradients in place.
#pragma once
#include <algorithm>
#include <cmath>
#include <limits>

#include "activations.h"
#include "view.h"

namespace evo {

// A logit that no softmax notices; what pads a row of logits.
template <class R> constexpr R NO_LOGIT = std::numeric_limits<R>::lowest();

// All lanes joined pairwise, halves first, in an order the compiler can keep in registers.
template <class R, class F> inline R joined(Vec<R> v, F &&f) {
  R lanes[WIDTH<R>];
  store(lanes, v);
  EVO_UNROLL for (int half = WIDTH<R> / 2; half; half /= 2)
    EVO_UNROLL for (int c = 0; c < half; ++c) lanes[c] = f(lanes[c], lanes[c + half]);
  return lanes[0];
}

// The cross-entropy of a row is log(total) + rest; see `sum_of_losses`.
struct RowLoss { double total, rest; };

// Cross-entropy of rows [first, last); logits become weight * (softmax - target). Row r predicts
// targets[r]; a target `ignored` counts for nothing. Three passes, so that what one row waits for
// (its maximum, its total) is long there when the next pass comes to it.
template <class R>
EVO_NOINLINE void cross_entropy(View<R> logits, long first, long last, long columns,
                                const int64_t *targets, int64_t ignored, R weight,
                                RowLoss *losses) {
  constexpr int W = WIDTH<R>, P = PANEL<R>;
  const long whole = columns / P, vectors = (columns + W - 1) / W;
  auto each = [&](long row, auto &&f) {  // f(address) for the vectors of a row
    R *p = logits.p + row * P;
    for (long j = 0; j < whole; ++j, p += logits.stride) f(p), f(p + W);
    for (long i = 2 * whole; i < vectors; ++i, p += W) f(p);
  };
  for (long r = first; r < last; ++r) {
    Vec<R> most = load(logits.p + r * P);
    each(r, [&](R *p) {
      const Vec<R> z = load(p);
      most = z > most ? z : most;
    });
    losses[r].rest = joined<R>(most, [](R a, R b) { return a > b ? a : b; });
  }
  for (long r = first; r < last; ++r) {
    const bool counts = targets[r] != ignored;
    const long target = counts ? long(targets[r]) : 0;
    const R chosen = logits.p[(target / P) * logits.stride + r * P + target % P];
    const R highest = R(losses[r].rest);
    Vec<R> sums{};
    each(r, [&](R *p) {
      const Vec<R> e = vexp<R>(load(p) - highest);
      store(p, e);
      sums += e;
    });
    const R total = joined<R>(sums, [](R a, R b) { return a + b; });
    losses[r] = counts ? RowLoss{double(total), double(highest) - double(chosen)} : RowLoss{1, 0};
  }
  for (long r = first; r < last; ++r) {
    if (targets[r] == ignored) {
      fill_zero(logits.at(r), 1, columns);
      continue;
    }
    const Vec<R> scale = splat(weight / R(losses[r].total));
    each(r, [&](R *p) { store(p, load(p) * scale); });
    logits.p[(targets[r] / P) * logits.stride + r * P + targets[r] % P] -= weight;
  }
}

// Eight totals share one logarithm: each is at most the number of columns, so that their product
// stays far inside the range of a double.
inline double sum_of_losses(const RowLoss *losses, long rows) {
  double sum = 0;
  for (long r = 0; r < rows; r += 8) {
    double product = 1;
    for (long k = r; k < std::min(rows, r + 8); ++k) {
      product *= losses[k].total;
      sum += losses[k].rest;
    }
    sum += std::log(product);
  }
  return sum;
}

// Sum of squared errors of one row; predictions become weight * 2 * (prediction - target).
template <class R>
inline RowLoss squared_error(View<R> predictions, long row, long columns, const R *targets,
                            R weight) {
  double sum = 0;
  for (long c = 0; c < columns; ++c) {
    R *p = predictions.p + (c / PANEL<R>)*predictions.stride + row * PANEL<R> + c % PANEL<R>;
    const R error = *p - targets[c];
    sum += double(error) * double(error);
    *p = R(2) * weight * error;
  }
  return {1, sum};
}

}  // namespace evo
