// Losses of one row of predictions; the predictions become their own gradients in place.
#pragma once
#include <cmath>

#include "activations.h"
#include "view.h"

namespace evo {

// A logit that no softmax notices; what pads a row of logits.
template <class R> constexpr R NO_LOGIT = R(-1e30);

// Cross-entropy of one row: returns the loss; logits become weight * (softmax - target).
template <class R>
inline double cross_entropy(View<R> logits, long row, long columns, long target, R weight) {
  constexpr int W = WIDTH<R>, P = PANEL<R>;
  const long vectors = (columns + W - 1) / W;
  auto place = [&](long i) {  // of vector i of the row
    return logits.p + (i / 2) * logits.stride + row * P + (i % 2) * W;
  };
  Vec<R> most = load(place(0));
  for (long i = 1; i < vectors; ++i) {
    const Vec<R> z = load(place(i));
    most = z > most ? z : most;
  }
  R highest = most[0];
  for (int c = 1; c < W; ++c) highest = most[c] > highest ? most[c] : highest;
  R *aim = logits.p + (target / P) * logits.stride + row * P + target % P;
  const double chosen = *aim;
  Vec<R> sums{};
  for (long i = 0; i < vectors; ++i) {
    const Vec<R> e = vexp<R>(load(place(i)) - highest);
    store(place(i), e);
    sums += e;
  }
  double total = 0;
  for (int c = 0; c < W; ++c) total += sums[c];
  const R scale = R(weight / total);
  for (long i = 0; i < vectors; ++i) store(place(i), load(place(i)) * scale);
  *aim -= weight;
  return std::log(total) + double(highest) - chosen;
}

// Sum of squared errors of one row; predictions become weight * 2 * (prediction - target).
template <class R>
inline double squared_error(View<R> predictions, long row, long columns, const R *targets,
                            R weight) {
  double total = 0;
  for (long c = 0; c < columns; ++c) {
    R *p = predictions.p + (c / PANEL<R>)*predictions.stride + row * PANEL<R> + c % PANEL<R>;
    const R error = *p - targets[c];
    total += double(error) * double(error);
    *p = R(2) * weight * error;
  }
  return total;
}

}  // namespace evo
