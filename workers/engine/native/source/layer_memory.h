// The memory of a layer: where the values, weights and gradients of a cell over T steps of B
// sequences lie.
#pragma once
#include "arena.h"
#include "product.h"
#include "tape.h"

namespace evo {

template <class R> class LayerMemory {
 public:
  const Cell &cell;
  const long steps, batch, hidden, block, wide;  // wide: panels of the hidden size
  const int32_t *alive;                          // by step; null: all
  const bool masked;
  const long table;  // rows of the table that steps take x from; 0: x by step

  LayerMemory(const Cell &c, long T, long B, long block_steps, const int32_t *alive_rows,
              bool with_mask, long table_rows)
      : cell(c), steps(T), batch(B), hidden(c.hidden), block(std::min(block_steps, T)),
        wide(panels<R>(c.hidden)), alive(alive_rows), masked(with_mask), table(table_rows) {}

  // The values of all steps, which backward reads again.
  // `from` is where x lies already, row by row as here; null: here.
  void place_values(Arena &arena, View<R> from = {}) {
    statics_.assign(cell.statics.slots, {});
    slots_.assign(cell.steps.slots, {});
    const long rows = table ? table : steps * batch;
    for (int s = 0; s < cell.statics.slots; ++s)
      if (!cell.is_sum[s])
        statics_[s] = s == 0 && from.stride ? from : arena.view<R>(rows, s ? hidden : cell.input);
    for (int k = 0; k < cell.states; ++k) {
      View<R> whole = arena.view<R>((steps + 1) * batch, hidden);
      slots_[k] = whole;
      slots_[cell.outputs[k]] = whole.at(batch);
    }
    for (int s = cell.states; s < cell.steps.slots; ++s)
      if (!slots_[s].stride) slots_[s] = arena.view<R>(steps * batch, hidden);
    masks_.assign(cell.states, {});
    for (int k = 0; masked && k < cell.states; ++k) masks_[k] = arena.view<R>(batch, hidden);
  }
  void place_forward(Arena &arena) {
    for (int s = 0; s < cell.statics.slots; ++s)
      if (cell.is_sum[s]) statics_[s] = arena.view<R>(table ? table : block * batch, hidden);
    place_vectors(arena);
    forward_.clear();
    for (const Matrix &m : cell.matrices)
      forward_.push_back(arena.take<R>(packed_forward<R>(hidden, m.columns)));
  }
  void place_backward(Arena &arena) {
    place_vectors(arena);
    backward_.clear();
    matrix_gradients_.clear();
    for (const Matrix &m : cell.matrices) {
      backward_.push_back(arena.take<R>(packed_backward<R>(hidden, m.columns)));
      matrix_gradients_.push_back(arena.take<R>(packed_gradient<R>(hidden, m.columns)));
    }
    vector_gradients_.clear();
    for (size_t v = 0; v < cell.vectors.size(); ++v)
      vector_gradients_.push_back(arena.take<R>(wide * PANEL<R>));
    g_.assign(cell.steps.slots, {});
    by_block_.assign(cell.steps.slots, 0);
    for (int k = 0; k < cell.states; ++k) {
      View<R> whole = arena.view<R>((block + 1) * batch, hidden);
      g_[k] = whole;
      g_[cell.outputs[k]] = whole.at(batch);
      by_block_[k] = by_block_[cell.outputs[k]] = 1;
    }
    for (const Instruction &i : cell.steps.forward)
      if ((i.op == LINEAR || i.op == SCALE || i.op == LOAD) && !g_[i.target].stride) {
        g_[i.target] = arena.view<R>(block * batch, hidden);
        by_block_[i.target] = 1;
      }
    place_passing(arena);
    ends_.assign(cell.states, {});
    for (int k = 0; k < cell.states; ++k) ends_[k] = arena.view<R>(batch, hidden);
    static_g_.assign(cell.statics.slots, {});
    if (!table)  // the gradient of a start is that of its linear, of a loaded value that of the copy
      for (const Instruction &i : cell.steps.forward) {
        if (i.op == LINEAR && i.start >= 0) static_g_[i.start] = g_[i.target];
        if (i.op == LOAD) static_g_[i.sources[0]] = g_[i.target];
      }
    const long rows = table ? table : block * batch;
    for (int s = 0; s < cell.statics.slots; ++s)
      if (!static_g_[s].stride) static_g_[s] = arena.view<R>(rows, s ? hidden : cell.input);
  }

  View<R> input(long t) const { return table ? statics_[0] : statics_[0].at(t * batch); }
  View<R> output(long t) const { return slots_[cell.outputs[0]].at(t * batch); }
  View<R> state(int k, long t) const { return slots_[cell.outputs[k]].at(t * batch); }
  View<R> mask(int k) const { return masks_[k]; }
  View<R> end_gradient(int k) const { return ends_[k]; }
  // Gradient of state k before step 0, after the last block.
  View<R> start_gradient(int k) const { return g_[k]; }
  // Gradient of x: by row of the table, or from step t of the block that begins at t0.
  View<R> input_gradient(long t, long t0) const {
    return table ? static_g_[0] : static_g_[0].at((t - t0) * batch);
  }
  long rows_at(long t) const { return t >= steps ? 0 : alive ? alive[t] : batch; }

 protected:
  std::vector<View<R>> statics_, slots_, masks_;  // values, by slot; masks by state
  std::vector<View<R>> g_, static_g_, ends_;      // gradients, by slot; of the last states
  std::vector<char> by_block_;  // whether a step slot has gradients for a block, not for a step
  std::vector<R *> vectors_, forward_, backward_, matrix_gradients_, vector_gradients_;

 private:
  // Gradients that live within a step share places: from the first contribution to a value until
  // its own rule has run. A few places stay in the nearest cache, one for each value would not.
  void place_passing(Arena &arena) {
    std::vector<View<R>> free;
    auto begin = [&](int slot) {
      if (g_[slot].stride) return;
      if (free.empty()) free.push_back(arena.view<R>(batch, hidden));
      g_[slot] = free.back();
      free.pop_back();
    };
    for (const Move &m : cell.steps.backward) {
      if (m.gather >= 0) {
        begin(cell.steps.gathers[m.gather].slot);
        continue;
      }
      const Instruction &i = cell.steps.forward[m.instruction];
      for (size_t k = 0; k < m.first.size(); ++k) begin(i.sources[k]);
      if (!by_block_[i.target]) free.push_back(g_[i.target]);
    }
  }
  void place_vectors(Arena &arena) {
    vectors_.clear();
    for (size_t v = 0; v < cell.vectors.size(); ++v)
      vectors_.push_back(arena.take<R>(wide * PANEL<R>));
  }
};

}  // namespace evo
