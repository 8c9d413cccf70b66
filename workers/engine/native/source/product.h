// The matrix products: one micro-kernel for values times weights, one for weight gradients.
//
// Both keep a tile of TILE rows x one panel of the result in registers. Every element of a
// result is one chain of multiply-adds in a fixed order, whatever tile it falls into, so results
// do not depend on how rows are divided among threads.
#pragma once
#include "transpose.h"
#include "view.h"

namespace evo {

// Rows of a tile. A processor with 32 registers holds 8 x 2 accumulators with room to spare.
#if EVO_VEC_BYTES == 64 || defined(__aarch64__)
constexpr int TILE = 8;
#else
constexpr int TILE = 4;
#endif

// One source of a linear: the value, and the matrix as panels [panel][inner][PANEL].
template <class R> struct Factor {
  View<const R> a;
  const R *w;
  long inner;
};

// What a result starts from: rows of a table, one row for all (step 0), or nothing (p null).
template <class R> struct Start {
  const R *p = nullptr;
  long stride = 0;
  long step = 0;
  const int32_t *index = nullptr;  // row r starts from table row index[r]; null: from row r
};

template <class R, int M, int N>
inline void product_tile(R *out, const Factor<R> *factors, int count, Start<R> start, long panel,
                         long row) {
  constexpr int W = WIDTH<R>, P = PANEL<R>;
  Vec<R> acc[M][N];
  if (start.p) {
    const R *s = start.p + panel * start.stride;
    EVO_UNROLL for (int i = 0; i < M; ++i) {
      const R *line = s + (start.index ? long(start.index[row + i]) : row + i) * start.step;
      EVO_UNROLL for (int v = 0; v < N; ++v) acc[i][v] = load(line + v * W);
    }
  } else {
    EVO_UNROLL for (int i = 0; i < M; ++i)
      EVO_UNROLL for (int v = 0; v < N; ++v) acc[i][v] = Vec<R>{};
  }
  for (int f = 0; f < count; ++f) {
    const R *w = factors[f].w + panel * factors[f].inner * P;
    const R *a = factors[f].a.p + row * P;
    for (long left = factors[f].inner; left > 0; left -= P, a += factors[f].a.stride) {
      const long steps = left < P ? left : P;
      for (long k = 0; k < steps; ++k, w += P) {
        Vec<R> b[N];
        EVO_UNROLL for (int v = 0; v < N; ++v) b[v] = load(w + v * W);
        EVO_UNROLL for (int i = 0; i < M; ++i) {
          const Vec<R> x = splat(a[i * P + k]);
          EVO_UNROLL for (int v = 0; v < N; ++v) acc[i][v] += x * b[v];
        }
      }
    }
  }
  EVO_UNROLL for (int i = 0; i < M; ++i) {
    EVO_UNROLL for (int v = 0; v < N; ++v) store(out + i * P + v * W, acc[i][v]);
    EVO_UNROLL for (int v = N; v < 2; ++v) store(out + i * P + v * W, Vec<R>{});
  }
}

template <class R, int M>
inline void product_rows(R *out, const Factor<R> *factors, int count, Start<R> start, long panel,
                         long row, bool half) {
  if (half) product_tile<R, M, 1>(out, factors, count, start, panel, row);
  else product_tile<R, M, 2>(out, factors, count, start, panel, row);
}

// One panel of out = start + sum of a w, for rows [first, last).
template <class R>
EVO_NOINLINE void product_panel(View<R> out, const Factor<R> *factors, int count, Start<R> start,
                          long panel, long columns, long first, long last) {
  const bool half = columns - panel * PANEL<R> <= WIDTH<R>;
  R *o = out.p + panel * out.stride;
  long r = first;
  for (; r + TILE <= last; r += TILE)
    product_rows<R, TILE>(o + r * PANEL<R>, factors, count, start, panel, r, half);
  if (TILE > 4 && r + 4 <= last) {
    product_rows<R, 4>(o + r * PANEL<R>, factors, count, start, panel, r, half);
    r += 4;
  }
  if (r + 2 <= last) {
    product_rows<R, 2>(o + r * PANEL<R>, factors, count, start, panel, r, half);
    r += 2;
  }
  if (r < last) product_rows<R, 1>(o + r * PANEL<R>, factors, count, start, panel, r, half);
}

template <class R>
inline void product(View<R> out, const Factor<R> *factors, int count, Start<R> start, long columns,
                    long first, long last) {
  for (long j = 0; j < panels<R>(columns); ++j)
    product_panel(out, factors, count, start, j, columns, first, last);
}

// Weight gradients: c (panels [panel][m][PANEL]) += sum over rows of d[row, m] * a[row, n]; a
// `fresh` c counts as zero, whatever it holds.
template <class R, int M, int N>
inline void outer_tile(R *c, const R *d, const R *a, long rows, bool fresh) {
  constexpr int W = WIDTH<R>, P = PANEL<R>;
  Vec<R> acc[M][N];
  EVO_UNROLL for (int i = 0; i < M; ++i)
    EVO_UNROLL for (int v = 0; v < N; ++v)
      acc[i][v] = fresh ? Vec<R>{} : load(c + i * P + v * W);
  for (long r = 0; r < rows; ++r, d += P, a += P) {
    Vec<R> b[N];
    EVO_UNROLL for (int v = 0; v < N; ++v) b[v] = load(a + v * W);
    EVO_UNROLL for (int i = 0; i < M; ++i) {
      const Vec<R> x = splat(d[i]);
      EVO_UNROLL for (int v = 0; v < N; ++v) acc[i][v] += x * b[v];
    }
  }
  EVO_UNROLL for (int i = 0; i < M; ++i)
    EVO_UNROLL for (int v = 0; v < N; ++v) store(c + i * P + v * W, acc[i][v]);
}

template <class R> constexpr int OUTER_TILE = TILE < PANEL<R> ? TILE : PANEL<R>;

// Rows of c that are kept for m rows: tiles are whole.
template <class R> inline long outer_rows(long m) { return round_up(m, PANEL<R>); }

// One panel of a weight gradient: d is (rows x m), a is (rows x columns).
template <class R>
EVO_NOINLINE void outer_panel(R *c, View<const R> d, long m, View<const R> a, long columns, long panel,
                              long rows, bool fresh) {
  constexpr int P = PANEL<R>;
  const bool half = columns - panel * P <= WIDTH<R>;
  R *to = c + panel * outer_rows<R>(m) * P;
  const R *from = a.p + panel * a.stride;
  for (long i = 0; i < m; i += OUTER_TILE<R>) {
    const R *left = d.p + (i / P) * d.stride + i % P;
    if (half) outer_tile<R, OUTER_TILE<R>, 1>(to + i * P, left, from, rows, fresh);
    else outer_tile<R, OUTER_TILE<R>, 2>(to + i * P, left, from, rows, fresh);
  }
}

// to[column] += sum over rows of d: the gradient of a bias.
template <class R> EVO_NOINLINE void sum_rows(R *to, View<const R> d, long columns, long rows) {
  for (long j = 0; j < panels<R>(columns); ++j) {
    const R *p = d.p + j * d.stride;
    R *t = to + j * PANEL<R>;
    Vec<R> low = load(t), high = load(t + WIDTH<R>);
    for (long r = 0; r < rows; ++r, p += PANEL<R>) {
      low += load(p);
      high += load(p + WIDTH<R>);
    }
    store(t, low);
    store(t + WIDTH<R>, high);
  }
}

// A row-major matrix (rows x inner, `step` numbers from row to row) as factors want it: for
// a w^T (forward) ...
template <class R> EVO_NOINLINE void pack_forward(R *to, const R *w, long rows, long inner, long step) {
  constexpr int P = PANEL<R>, W = WIDTH<R>;
  for (long j = 0; j < rows; j += P) {
    const long width = std::min<long>(P, rows - j);
    long k = 0;
    for (; width == P && k + W <= inner; k += W, to += W * P)
      for (int half = 0; half < P; half += W)
        transpose(to + half, P, w + (j + half) * step + k, step);
    for (; k < inner; ++k, to += P) {
      for (long c = 0; c < width; ++c) to[c] = w[(j + c) * step + k];
      for (long c = width; c < P; ++c) to[c] = 0;
    }
  }
}
// ... and for d w (backward), where the matrix lies the right way already.
template <class R> EVO_NOINLINE void pack_backward(R *to, const R *w, long rows, long inner, long step) {
  constexpr int P = PANEL<R>;
  for (long j = 0; j < inner; j += P) {
    const long width = std::min<long>(P, inner - j);
    for (long k = 0; k < rows; ++k, to += P) {
      copy_line(to, w + k * step + j, width);
      for (long c = width; c < P; ++c) to[c] = 0;
    }
  }
}
// A weight gradient back to row-major.
template <class R> EVO_NOINLINE void unpack(R *to, const R *c, long rows, long inner, long step) {
  constexpr int P = PANEL<R>;
  for (long j = 0; j < inner; j += P) {
    const long width = std::min<long>(P, inner - j);
    const R *from = c + (j / P) * outer_rows<R>(rows) * P;
    for (long k = 0; k < rows; ++k) copy_line(to + k * step + j, from + k * P, width);
  }
}
template <class R> inline long packed_forward(long rows, long inner) {
  return panels<R>(rows) * inner * PANEL<R>;
}
template <class R> inline long packed_backward(long rows, long inner) {
  return panels<R>(inner) * rows * PANEL<R>;
}
template <class R> inline long packed_gradient(long rows, long inner) {
  return panels<R>(inner) * outer_rows<R>(rows) * PANEL<R>;
}

}  // namespace evo
