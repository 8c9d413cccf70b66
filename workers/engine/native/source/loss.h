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

// log(1 + e) of e in [0, 1], to the last bits even where e is tiny: with s = e / (2 + e), at most a
// third, 2 (s + s^3 / 3 + s^5 / 5 + ...); what is left out is below 1e-17 (float: 2e-8) of it.
template <class R> inline Vec<R> vlog1p(Vec<R> e) {
  const Vec<R> s = e / (e + R(2)), square = s * s;
  constexpr int terms = sizeof(R) == 4 ? 7 : 16;
  Vec<R> p = splat(R(1) / R(2 * terms - 1));
  EVO_UNROLL for (int k = terms - 2; k >= 0; --k) p = p * square + R(1) / R(2 * k + 1);
  return R(2) * s * p;
}

// Binary cross-entropy of one row of logits, summed over its columns:
// max(x, 0) - x t + log(1 + exp(-|x|)); logits become weight * (sigmoid(x) - t). A NaN x or t stays
// one in both: x t is NaN, and so is e, for `x >= 0` only chooses between two that are.
template <class R>
inline RowLoss bernoulli(View<R> logits, long row, long columns, const R *targets, R weight) {
  constexpr int W = WIDTH<R>, P = PANEL<R>;
  const Vec<R> zero = splat(R(0));
  Vec<R> sums{};
  for (long c = 0; c < columns; c += W) {
    R *p = logits.p + (c / P) * logits.stride + row * P + c % P;
    const long width = std::min<long>(W, columns - c);
    const Vec<R> x = load(p);
    R last[W] = {};
    if (width < W) std::memcpy(last, targets + c, width * sizeof(R));
    const Vec<R> t = load(width < W ? last : targets + c);
    const Vec<R> e = vexp<R>(-vabs<R>(x)), share = R(1) / (e + R(1));
    Vec<R> each = (x > zero ? x : zero) - x * t + vlog1p<R>(e);
    for (long lane = width; lane < W; ++lane) each[lane] = 0;  // beyond the columns: padding
    sums += each;
    store(p, weight * ((x >= zero ? share : e * share) - t));
  }
  double sum = 0;
  for (int lane = 0; lane < W; ++lane) sum += double(sums[lane]);
  return {1, sum};
}

}  // namespace evo
