// The rules of every operation that is not a product: one forward, one backward.
#pragma once
#include <array>

#include "activations.h"
#include "tape.h"
#include "view.h"

namespace evo {

struct Rows {
  long first, last;
  long back = 0;  // numbers from a row to the same row of the step that comes next backward
};

// y = f(a, b, ...) or y += f(a, b, ...) over rows of all panels.
template <class R, bool ADDS, class F, class... A>
inline void map(View<R> y, long panel_count, Rows rows, F f, A... a) {
  constexpr int P = PANEL<R>, W = WIDTH<R>;
  for (long j = 0; j < panel_count; ++j) {
    R *to = y.p + j * y.stride;
    for (long i = rows.first * P; i < rows.last * P; i += W) {
      Vec<R> value = f(load(a.p + j * a.stride + i)...);
      if constexpr (ADDS) value = load(to + i) + value;
      store(to + i, value);
    }
  }
}

template <class R, class F, class... A>
inline void contribute(bool first, View<R> y, long panel_count, Rows rows, F f, A... a) {
  if (first) map<R, false>(y, panel_count, rows, f, a...);
  else map<R, true>(y, panel_count, rows, f, a...);
}

// y[r] = a[index[r]]
template <class R>
EVO_NOINLINE void take_rows(View<R> y, View<const R> a, const int32_t *index, long panel_count,
                      Rows rows) {
  for (long j = 0; j < panel_count; ++j)
    for (long r = rows.first; r < rows.last; ++r)
      copy_line(y.p + j * y.stride + r * PANEL<R>,
                a.p + j * a.stride + long(index ? index[r] : r) * PANEL<R>, PANEL<R>);
}

// An instruction that is neither LINEAR nor LOAD. `v` are the slots; `vector` a vector of the
// hidden size (SCALE) or a mask by row (MASK).
template <class R>
EVO_NOINLINE void forward_rule(const Instruction &i, const View<R> *v, View<const R> vector, long n,
                         Rows rows) {
  using X = Vec<R>;
  View<R> y = v[i.target];
  const std::vector<int> &s = i.sources;
  auto in = [&](size_t k) { return constant(v[s[k]]); };
  switch (i.op) {
    case SCALE:
      for (long j = 0; j < n; ++j) {
        View<R> one{y.p + j * y.stride, 0};
        View<const R> a{in(0).p + j * in(0).stride, 0};
        const R *p = vector.p + j * PANEL<R>;
        for (long r = rows.first; r < rows.last; ++r)
          for (int c = 0; c < PANEL<R>; c += WIDTH<R>)
            store(one.p + r * PANEL<R> + c, load(a.p + r * PANEL<R> + c) * load(p + c));
      }
      break;
    case ADD:
    case MEAN: {
      map<R, false>(y, n, rows, [](X a, X b) { return a + b; }, in(0), in(1));
      for (size_t k = 2; k < s.size(); ++k)
        map<R, true>(y, n, rows, [](X a) { return a; }, in(k));
      if (i.op == MEAN) {
        const R count = R(s.size());
        map<R, false>(y, n, rows, [=](X a) { return a / count; }, constant(y));
      }
      break;
    }
    case MUL:
      map<R, false>(y, n, rows, [](X a, X b) { return a * b; }, in(0), in(1));
      for (size_t k = 2; k < s.size(); ++k)
        map<R, false>(y, n, rows, [](X a, X b) { return a * b; }, constant(y), in(k));
      break;
    case SUB: map<R, false>(y, n, rows, [](X a, X b) { return a - b; }, in(0), in(1)); break;
    case BLEND:
      map<R, false>(y, n, rows, [](X z, X a, X b) { return z * a + (R(1) - z) * b; }, in(0), in(1),
                    in(2));
      break;
    case ACTIVATE:
      with_activation(i.activation, [&](auto kind) {
        map<R, false>(y, n, rows, [](X a) { return activated<R, decltype(kind)::value>(a); }, in(0));
      });
      break;
    case MASK: map<R, false>(y, n, rows, [](X a, X m) { return a * m; }, in(0), vector); break;
    default: break;
  }
}

// The gradients of all sources in one pass: f(values read, contributions to the sources).
template <class R, size_t READS, class F>
inline void together(const std::vector<char> &first, const Instruction &i, const View<R> *g,
                     long panel_count, Rows rows, std::array<View<const R>, READS> reads, F f) {
  constexpr int P = PANEL<R>, W = WIDTH<R>;
  constexpr size_t COUNT = READS - 1;
  bool adds[COUNT];
  for (size_t k = 0; k < COUNT; ++k) adds[k] = !first[k];
  for (long j = 0; j < panel_count; ++j) {
    const R *from[READS];
    R *to[COUNT];
    for (size_t k = 0; k < READS; ++k) from[k] = reads[k].p + j * reads[k].stride;
    for (size_t k = 0; k < COUNT; ++k) to[k] = g[i.sources[k]].p + j * g[i.sources[k]].stride;
    for (long r = rows.first * P; r < rows.last * P; r += W) {
      Vec<R> x[READS], d[COUNT];
      EVO_UNROLL for (size_t k = 0; k < READS; ++k) x[k] = load(from[k] + r);
      EVO_UNROLL for (size_t k = 1; k < READS; ++k) __builtin_prefetch(from[k] + r - rows.back);
      f(x, d);
      // one after the other: where two sources are one value, the second adds to the first
      EVO_UNROLL for (size_t k = 0; k < COUNT; ++k)
        store(to[k] + r, adds[k] ? load(to[k] + r) + d[k] : d[k]);
    }
  }
}

// The gradients of the sources of an instruction that is neither LINEAR nor LOAD. `v` are the
// values, `g` the gradients; first[k] tells whether source k has none yet.
template <class R>
EVO_NOINLINE void backward_rule(const Instruction &i, const std::vector<char> &first, const View<R> *v,
                          const View<R> *g, View<const R> vector, long n, Rows rows) {
  using X = Vec<R>;
  View<const R> dy = constant(g[i.target]);
  const std::vector<int> &s = i.sources;
  auto in = [&](size_t k) { return constant(v[s[k]]); };
  auto give = [&](size_t k, auto f, auto... a) {
    contribute<R>(first[k], g[s[k]], n, rows, f, a...);
  };
  switch (i.op) {
    case SCALE:
      for (long j = 0; j < n; ++j) {
        const R *p = vector.p + j * PANEL<R>;
        for (long r = rows.first; r < rows.last; ++r)
          for (int c = 0; c < PANEL<R>; c += WIDTH<R>) {
            R *to = g[s[0]].p + j * g[s[0]].stride + r * PANEL<R> + c;
            X value = load(dy.p + j * dy.stride + r * PANEL<R> + c) * load(p + c);
            store(to, first[0] ? value : load(to) + value);
          }
      }
      break;
    case ADD:
      for (size_t k = 0; k < s.size(); ++k) give(k, [](X d) { return d; }, dy);
      break;
    case MEAN: {
      const R count = R(s.size());
      for (size_t k = 0; k < s.size(); ++k) give(k, [=](X d) { return d / count; }, dy);
      break;
    }
    case MUL:
      if (s.size() == 2) {
        together(first, i, g, n, rows, std::array{dy, in(0), in(1)},
                 [](const X *x, X *d) { d[0] = x[0] * x[2], d[1] = x[0] * x[1]; });
        break;
      }
      for (size_t k = 0; k < s.size(); ++k)  // not y / a: a may be zero
        for (long j = 0; j < n; ++j)
          for (long r = rows.first * PANEL<R>; r < rows.last * PANEL<R>; r += WIDTH<R>) {
            X value = load(dy.p + j * dy.stride + r);
            for (size_t o = 0; o < s.size(); ++o)
              if (o != k) value *= load(in(o).p + j * in(o).stride + r);
            R *to = g[s[k]].p + j * g[s[k]].stride + r;
            store(to, first[k] ? value : load(to) + value);
          }
      break;
    case SUB:
      give(0, [](X d) { return d; }, dy);
      give(1, [](X d) { return -d; }, dy);
      break;
    case BLEND:
      together(first, i, g, n, rows, std::array{dy, in(0), in(1), in(2)}, [](const X *x, X *d) {
        d[0] = x[0] * (x[2] - x[3]), d[1] = x[0] * x[1], d[2] = x[0] * (R(1) - x[1]);
      });
      break;
    case ACTIVATE:
      with_activation(i.activation, [&](auto kind) {
        give(0, [](X d, X y) { return derived<R, decltype(kind)::value>(d, y); }, dy,
             constant(v[i.target]));
      });
      break;
    case MASK: give(0, [](X d, X m) { return d * m; }, dy, vector); break;
    default: break;
  }
}

// In place: the gradient of an activated linear becomes that of the linear itself.
template <class R>
EVO_NOINLINE void derive_in_place(int activation, View<R> g, View<const R> y, long n, Rows rows) {
  if (activation == NONE || activation == COPY) return;
  with_activation(activation, [&](auto kind) {
    map<R, false>(g, n, rows,
                  [](Vec<R> d, Vec<R> o) { return derived<R, decltype(kind)::value>(d, o); },
                  constant(g), y);
  });
}
template <class R> EVO_NOINLINE void activate_in_place(int activation, R *p, long numbers) {
  if (activation == NONE || activation == COPY) return;
  with_activation(activation, [&](auto kind) {
    for (long i = 0; i < numbers; i += WIDTH<R>)
      store(p + i, activated<R, decltype(kind)::value>(load(p + i)));
  });
}

}  // namespace evo
