// Losses of one row of predictions; the predictions become their own gradients in place.
#pragma once
#include <algorithm>
#include <cmath>
#include <limits>

#include "activations.h"
#include "transpose.h"
#include "view.h"

namespace evo {

// A logit that no softmax notices; what pads a row of logits.
template <class R> constexpr R NO_LOGIT = std::numeric_limits<R>::lowest();

// The cross-entropy of a row is log(total) + rest; see `sum_of_losses`.
struct RowLoss { double total, rest; };

// One vector for each of WIDTH rows, joined lane by lane: lane r of the result is that of row r.
template <class R, class F> inline Vec<R> joined(R *rows, F &&f) {
  constexpr int W = WIDTH<R>;
  R lanes[W * W];
  transpose(lanes, W, rows, W);
  Vec<R> v = load(lanes);
  EVO_UNROLL for (int c = 1; c < W; ++c) v = f(v, load(lanes + c * W));
  return v;
}

// Cross-entropy of rows [first, last); logits become weight * (softmax - target). Row r predicts
// targets[r]; a target `ignored` counts for nothing. WIDTH rows at a time, so that their maxima and
// totals are vectors too.
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
  R part[W * W] = {}, highest[W], total[W];
  for (long r0 = first; r0 < last; r0 += W) {
    const long count = std::min<long>(W, last - r0);
    for (long r = 0; r < count; ++r) {
      Vec<R> most = load(logits.p + (r0 + r) * P);
      each(r0 + r, [&](R *p) {
        const Vec<R> z = load(p);
        most = z > most ? z : most;
      });
      store(part + r * W, most);
    }
    store(highest, joined<R>(part, [](Vec<R> a, Vec<R> b) { return b > a ? b : a; }));
    for (long r = 0; r < count; ++r) {
      const int64_t wanted = targets[r0 + r], target = wanted == ignored ? 0 : wanted;
      const R chosen = logits.p[(target / P) * logits.stride + (r0 + r) * P + target % P];
      losses[r0 + r].rest = double(highest[r]) - double(chosen);
      Vec<R> sums{};
      each(r0 + r, [&](R *p) {
        const Vec<R> e = vexp<R>(load(p) - highest[r]);
        store(p, e);
        sums += e;
      });
      store(part + r * W, sums);
    }
    store(total, joined<R>(part, [](Vec<R> a, Vec<R> b) { return a + b; }));
    for (long r = 0; r < count; ++r) {
      const int64_t target = targets[r0 + r];
      if (target == ignored) {
        losses[r0 + r] = {1, 0};
        fill_zero(logits.at(r0 + r), 1, columns);
        continue;
      }
      losses[r0 + r].total = double(total[r]);
      const Vec<R> scale = splat(weight / total[r]);
      each(r0 + r, [&](R *p) { store(p, load(p) * scale); });
      logits.p[(target / P) * logits.stride + (r0 + r) * P + target % P] -= weight;
    }
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
