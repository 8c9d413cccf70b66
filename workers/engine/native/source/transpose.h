// The transpose of a square of numbers, one vector wide.
#pragma once
#include "vec.h"

namespace evo {

// to[c][r] = from[r][c] for WIDTH x WIDTH numbers: pairs of vectors trade halves, quarters, ...
template <class R> inline void transpose(R *to, long to_step, const R *from, long step) {
  constexpr int W = WIDTH<R>;
#if defined(__clang__)  // has no shuffle whose mask is computed
  for (int r = 0; r < W; ++r)
    for (int c = 0; c < W; ++c) to[c * to_step + r] = from[r * step + c];
#else
  Vec<R> v[W];
  EVO_UNROLL for (int r = 0; r < W; ++r) v[r] = load(from + r * step);
  EVO_UNROLL for (int s = 1; s < W; s *= 2) {
    IVec<R> low, high;  // lanes of the pair that end up in its first and second vector
    EVO_UNROLL for (int c = 0; c < W; ++c) {
      low[c] = c & s ? W + c - s : c;
      high[c] = c & s ? W + c : c + s;
    }
    EVO_UNROLL for (int r = 0; r < W; ++r)
      if (!(r & s)) {
        const Vec<R> a = v[r], b = v[r + s];
        v[r] = __builtin_shuffle(a, b, low);
        v[r + s] = __builtin_shuffle(a, b, high);
      }
  }
  EVO_UNROLL for (int r = 0; r < W; ++r) store(to + r * to_step, v[r]);
#endif
}

}  // namespace evo
