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

// Multiply-adds of a layer forward; backward they are twice as many.
template <class R> long work_of(const Layer<R> &layer) {
  long weights = 0;
  for (const Matrix &m : layer.cell.matrices) weights += layer.hidden * m.columns;
  return layer.steps * layer.batch * weights;
}

// before(t0, t1, rows) and after(t0, t1, rows) are called around each block.
template <class R, class Before, class After>
void forward_all(Layer<R> &layer, Pool &pool, Before &&before, After &&after) {
  pool.run(work_of(layer), [&](int k, int of) {
    if (layer.table) {
      layer.forward_table(share(layer.table, k, of));
      pool.barrier(of);
    }
    const Rows rows = share(layer.batch, k, of);
    for (long t0 = 0; t0 < layer.steps; t0 += layer.block) {
      const long t1 = std::min(layer.steps, t0 + layer.block);
      before(t0, t1, rows);
      layer.forward(t0, t1, rows);
      after(t0, t1, rows);
    }
  });
}

// ahead(t0, t1, k, of) runs on each thread before a block, after(t0, t1, rows) after its rows.
template <class R, class Ahead, class Add, class After>
void backward_all(Layer<R> &layer, Pool &pool, Ahead &&ahead, Add &&add, After &&after) {
  pool.run(work_of(layer), [&](int k, int of) {
    const long last = (layer.steps - 1) / layer.block * layer.block;
    const Rows rows = share(layer.batch, k, of);
    for (long t0 = last; t0 >= 0; t0 -= layer.block) {
      const long t1 = std::min(layer.steps, t0 + layer.block);
      ahead(t0, t1, k, of);
      layer.backward(t0, t1, rows, add);
      after(t0, t1, rows);
      pool.barrier(of);
      if (k == 0 && layer.table) layer.scatter(t0, t1);
      for (int piece = k; piece < layer.pieces(); piece += of) layer.piece_of_block(piece, t0, t1);
      pool.barrier(of);
      if (t0 > 0) layer.carry(rows);
    }
    if (!layer.table) return;
    layer.backward_table(share(layer.table, k, of));
    pool.barrier(of);
    for (int piece = k; piece < layer.pieces(); piece += of) layer.piece_of_table(piece);
  });
}

}  // namespace evo
