// A layer's blocks in order, with rows and weight gradients divided among threads.
//
// Rows do not depend on each other, and each piece of a weight gradient is summed by one thread
// in a fixed order: results are the same bits for any number of threads.
#pragma once
#include "layer.h"
#include "pool.h"

namespace evo {

inline Rows share(long rows, int k, int of) {
  const long unit = (rows / of) >= 8 ? 4 : 1;
  auto cut = [&](int i) { return i == of ? rows : rows * i / of / unit * unit; };
  return {cut(k), cut(k + 1)};
}

// before(t0, t1, rows) and after(t0, t1, rows) are called around each block.
template <class R, class Before, class After>
void forward_all(Layer<R> &layer, Pool &pool, Before &&before, After &&after) {
  if (layer.table) pool.run([&](int k) { layer.forward_table(share(layer.table, k, pool.size())); });
  pool.run([&](int k) {
    const Rows rows = share(layer.batch, k, pool.size());
    for (long t0 = 0; t0 < layer.steps; t0 += layer.block) {
      const long t1 = std::min(layer.steps, t0 + layer.block);
      before(t0, t1, rows);
      layer.forward(t0, t1, rows);
      after(t0, t1, rows);
    }
  });
}

// ahead(t0, t1) runs on one thread before a block, after(t0, t1, rows) on each after its rows.
template <class R, class Ahead, class Add, class After>
void backward_all(Layer<R> &layer, Pool &pool, Ahead &&ahead, Add &&add, After &&after) {
  const long last = (layer.steps - 1) / layer.block * layer.block;
  for (long t0 = last; t0 >= 0; t0 -= layer.block) {
    const long t1 = std::min(layer.steps, t0 + layer.block);
    ahead(t0, t1);
    pool.run([&](int k) {
      const Rows rows = share(layer.batch, k, pool.size());
      layer.backward(t0, t1, rows, add);
      after(t0, t1, rows);
    });
    pool.run([&](int k) {
      if (k == 0 && layer.table) layer.scatter(t0, t1);
      for (int piece = k; piece < layer.pieces(); piece += pool.size())
        layer.piece_of_block(piece, t0, t1);
    });
    if (t0 > 0) layer.carry({0, layer.batch});
  }
  if (!layer.table) return;
  pool.run([&](int k) { layer.backward_table(share(layer.table, k, pool.size())); });
  pool.run([&](int k) {
    for (int piece = k; piece < layer.pieces(); piece += pool.size()) layer.piece_of_table(piece);
  });
}

}  // namespace evo
