// The C interface of one layer: what layer.py calls.
#include "api.h"
#include "schedule.h"
#include "subnormal.h"

using namespace evo;

namespace {

template <class R> struct Call {  // what forward and backward have in common
  const FlushSubnormals flush;
  Layer<R> layer;
  Pool *pool;
  Call(const void *cell, const int64_t *sizes, const int32_t *alive, const R *mask, void *threads)
      : layer(*static_cast<const Cell *>(cell), sizes[0], sizes[1], sizes[2], alive,
              mask != nullptr, 0),
        pool(static_cast<Pool *>(threads)) {}
};

template <class R> void bytes(const void *cell, const int64_t *sizes, int masked, int64_t *result) {
  Layer<R> layer(*static_cast<const Cell *>(cell), sizes[0], sizes[1], sizes[2], nullptr,
                 masked != 0, 0);
  Arena values(nullptr), forward(nullptr), backward(nullptr);
  layer.place_values(values);
  layer.place_forward(forward);
  layer.place_backward(backward);
  result[0] = values.used();
  result[1] = forward.used();
  result[2] = backward.used();
}

// `state` null: zeros.
template <class R>
void forward(const void *cell, const int64_t *sizes, const int32_t *alive, const R *mask,
             const R *flat, const R *x, const R *state, R *y, R *final, void *values,
             void *scratch, void *threads) {
  Call<R> call(cell, sizes, alive, mask, threads);
  Layer<R> &layer = call.layer;
  Arena kept(values), temporary(scratch);
  layer.place_values(kept);
  layer.place_forward(temporary);
  layer.pack_weights_forward(flat);
  const Cell &c = layer.cell;
  const long B = layer.batch, H = layer.hidden, I = c.input;
  for (int k = 0; k < c.states; ++k) {
    if (state) read_rows(layer.state(k, -1), state + k * B * H, H, B, H);
    else fill_zero(layer.state(k, -1), B, H);
    if (mask) read_rows(layer.mask(k), mask + k * B * H, H, B, H);
  }
  auto before = [&](long t0, long t1, Rows rows) {
    for (long t = t0; t < t1; ++t)
      read_rows(layer.input(t).at(rows.first), x + (t * B + rows.first) * I, I,
                rows.last - rows.first, I);
  };
  auto after = [&](long t0, long t1, Rows rows) {
    for (long t = t0; t < t1; ++t) {
      const long last = std::max(rows.first, std::min(rows.last, layer.rows_at(t)));
      write_rows(y + (t * B + rows.first) * H, constant(layer.output(t).at(rows.first)), H,
                 last - rows.first, H);
      std::memset(y + (t * B + last) * H, 0, (rows.last - last) * H * sizeof(R));
      const long first = std::max(rows.first, layer.rows_at(t + 1));
      for (int k = 0; k < c.states && first < last; ++k)  // these sequences end here
        write_rows(final + (k * B + first) * H, constant(layer.state(k, t).at(first)), H,
                   last - first, H);
    }
  };
  forward_all(layer, *call.pool, before, after);
}

// `dy` and `dfinal` null: zeros. `dx` and `dstate` null: not wanted.
template <class R>
void backward(const void *cell, const int64_t *sizes, const int32_t *alive, const R *mask,
              const R *flat, const R *dy, const R *dfinal, R *dflat, R *dx, R *dstate,
              void *values, void *scratch, void *threads) {
  Call<R> call(cell, sizes, alive, mask, threads);
  Layer<R> &layer = call.layer;
  Arena kept(values), temporary(scratch);
  layer.place_values(kept);
  layer.place_backward(temporary);
  layer.pack_weights_backward(flat, dx != nullptr);
  const Cell &c = layer.cell;
  const long B = layer.batch, H = layer.hidden, I = c.input;
  for (int k = 0; k < c.states; ++k)
    if (dfinal) read_rows(layer.end_gradient(k), dfinal + k * B * H, H, B, H);
    else fill_zero(layer.end_gradient(k), B, H);
  auto add = [&](long t, View<R> g, Rows rows) {
    if (dy) add_rows(g, dy + t * B * H, H, rows.first, rows.last, H);
  };
  auto after = [&](long t0, long t1, Rows rows) {
    for (long t = t0; dx && t < t1; ++t) {
      const long last = std::max(rows.first, std::min(rows.last, layer.rows_at(t)));
      write_rows(dx + (t * B + rows.first) * I, constant(layer.input_gradient(t, t0).at(rows.first)),
                 I, last - rows.first, I);
      std::memset(dx + (t * B + last) * I, 0, (rows.last - last) * I * sizeof(R));
    }
  };
  backward_all(layer, *call.pool, [](long, long, int, int) {}, add, after);
  for (int k = 0; dstate && k < c.states; ++k)
    write_rows(dstate + k * B * H, constant(layer.start_gradient(k)), H, B, H);
  layer.unpack_gradients(dflat);
}

}  // namespace

EVO_API void *evo_cell_new(const int32_t *code, const int64_t *places, int32_t input,
                           int32_t hidden) {
  return new Cell(code, places, input, hidden);
}
EVO_API void evo_cell_free(void *cell) { delete static_cast<Cell *>(cell); }
EVO_API void *evo_pool_new(int32_t size, int64_t worth_waking) {
  return new Pool(size, long(worth_waking));
}

#define EVO_LAYER(R, NAME)                                                                        \
  EVO_API void evo_layer_bytes_##NAME(const void *cell, const int64_t *sizes, int32_t masked,     \
                                      int64_t *result) {                                          \
    bytes<R>(cell, sizes, masked, result);                                                        \
  }                                                                                               \
  EVO_API void evo_layer_forward_##NAME(                                                          \
      const void *cell, const int64_t *sizes, const int32_t *alive, const R *mask, const R *flat, \
      const R *x, const R *state, R *y, R *final, void *values, void *scratch, void *pool) {      \
    forward<R>(cell, sizes, alive, mask, flat, x, state, y, final, values, scratch, pool);        \
  }                                                                                               \
  EVO_API void evo_layer_backward_##NAME(                                                         \
      const void *cell, const int64_t *sizes, const int32_t *alive, const R *mask, const R *flat, \
      const R *dy, const R *dfinal, R *dflat, R *dx, R *dstate, void *values, void *scratch,      \
      void *pool) {                                                                               \
    backward<R>(cell, sizes, alive, mask, flat, dy, dfinal, dflat, dx, dstate, values, scratch,   \
                pool);                                                                            \
  }

EVO_LAYER(float, f32)
EVO_LAYER(double, f64)
