// One layer at work: a cell over T steps of B sequences, forward and backward.
//
// Sequences are ordered by falling length, so that those still alive at a step are the first
// `alive[t]` rows. Time goes in blocks of steps: what depends on x alone is computed for a block
// at once, and backward the weight gradients of a block follow while its gradients are in cache.
#pragma once
#include "elementwise.h"
#include "layer_memory.h"

namespace evo {

template <class R> class Layer : public LayerMemory<R> {
  using Memory = LayerMemory<R>;

 public:
  using Memory::alive, Memory::batch, Memory::block, Memory::cell, Memory::hidden;
  using Memory::masked, Memory::rows_at, Memory::steps, Memory::table, Memory::wide;
  const int32_t *index = nullptr;  // (steps, batch) row of the table

  Layer(const Cell &c, long T, long B, long block_steps, const int32_t *alive_rows,
        bool with_mask, long table_rows)
      : Memory(c, T, B, block_steps, alive_rows, with_mask, table_rows) {
    list_pieces();
  }

  // ---- forward ----

  void pack_weights_forward(const R *flat) {
    for (size_t m = 0; m < cell.matrices.size(); ++m)
      pack_forward(forward_[m], flat + cell.matrices[m].offset, hidden, cell.matrices[m].columns,
                   cell.matrices[m].columns);
    pack_vectors(flat);
  }
  // The static part of a table, once.
  void forward_table(Rows rows) { forward_static(statics_.data(), rows); }

  // Steps [t0, t1), for sequences [rows.first, rows.last).
  EVO_NOINLINE void forward(long t0, long t1, Rows rows) {
    std::vector<View<R>> now(statics_);
    if (!table && cell.statics.forward.size()) {
      for (int s = 0; s < cell.statics.slots; ++s)
        if (!cell.is_sum[s]) now[s] = statics_[s].at(t0 * batch);
      each_run(t0, t1, rows, [&](long first, long last) {
        forward_static(now.data(), {first, last});
      });
    }
    std::vector<View<R>> v(slots_.size());
    for (long t = t0; t < t1; ++t) {
      for (size_t s = 0; s < v.size(); ++s) v[s] = slots_[s].at(t * batch);
      const Rows mine{rows.first, std::min(rows.last, rows_at(t))};
      if (mine.first >= mine.last) break;
      for (const Instruction &i : cell.steps.forward) step(i, v.data(), t, t0, mine);
    }
  }

  // ---- backward ----

  void pack_weights_backward(const R *flat, bool wants_input) {
    wants_input_ = wants_input;
    for (size_t m = 0; m < cell.matrices.size(); ++m) {
      const Matrix &matrix = cell.matrices[m];
      pack_backward(backward_[m], flat + matrix.offset, hidden, matrix.columns, matrix.columns);
    }
    for (Piece &piece : pieces_) piece.fresh = true;
    for (R *g : vector_gradients_) std::memset(g, 0, wide * PANEL<R> * sizeof(R));
    pack_vectors(flat);
    if (table)
      for (int s = 0; s < cell.statics.slots; ++s)
        fill_zero(static_g_[s], table, s ? hidden : cell.input);
  }

  // Steps [t0, t1) backward; blocks come last to first. `add` is called as add(t, gradient of
  // the output at t, rows) and adds what comes from above.
  template <class Add> EVO_NOINLINE void backward(long t0, long t1, Rows rows, Add &&add) {
    std::vector<View<R>> v(slots_.size()), g(slots_.size());
    for (long t = std::min(t1, steps) - 1; t >= t0; --t) {
      const Rows mine{rows.first, std::min(rows.last, rows_at(t)), batch * PANEL<R>};
      if (mine.first >= mine.last) continue;
      for (size_t s = 0; s < v.size(); ++s) {
        v[s] = slots_[s].at(t * batch);
        g[s] = by_block_[s] ? g_[s].at((t - t0) * batch) : g_[s];
      }
      const Rows ending{std::max(rows.first, rows_at(t + 1)), mine.last};
      for (int k = 0; k < cell.states && ending.first < ending.last; ++k)
        map<R, false>(g[cell.outputs[k]], wide, ending, [](Vec<R> a) { return a; },
                      constant(ends_[k]));
      add(t, g[cell.outputs[0]], mine);
      back_step(v.data(), g.data(), mine);
    }
    if (!table) {
      std::vector<View<R>> values(statics_);
      for (int s = 0; s < cell.statics.slots; ++s)
        if (!cell.is_sum[s]) values[s] = statics_[s].at(t0 * batch);
      each_run(t0, t1, rows, [&](long first, long last) {
        backward_static(values.data(), {first, last});
      });
    }
  }
  // Hands the gradient of the states before a block on to the block before it.
  void carry(Rows rows) {
    for (int k = 0; k < cell.states; ++k)
      map<R, false>(g_[k].at(block * batch), wide, rows, [](Vec<R> a) { return a; },
                    constant(g_[k]));
  }
  void backward_table(Rows rows) { backward_static(statics_.data(), rows); }

  // Adds the gradients of a block to the rows of the table they were taken from.
  EVO_NOINLINE void scatter(long t0, long t1) {
    for (const Instruction &i : cell.steps.forward) {
      const int slot = i.op == LOAD ? i.sources[0] : i.op == LINEAR ? i.start : -1;
      if (slot < 0) continue;
      const long count = slot ? wide : panels<R>(cell.input);
      each_run(t0, t1, {0, batch}, [&](long first, long last) {
        for (long j = 0; j < count; ++j) {
          const R *from = g_[i.target].p + j * g_[i.target].stride;
          R *to = static_g_[slot].p + j * static_g_[slot].stride;
          for (long r = first; r < last; ++r) {
            R *line = to + long(index[t0 * batch + r]) * PANEL<R>;
            for (int c = 0; c < PANEL<R>; c += WIDTH<R>)
              store(line + c, load(line + c) + load(from + r * PANEL<R> + c));
          }
        }
      });
    }
  }

  // Weight gradients fall into pieces that any thread may take.
  int pieces() const { return int(pieces_.size()); }
  void piece_of_block(int k, long t0, long t1) {
    Piece &piece = pieces_[k];
    if (table && !piece.of_steps) return;
    each_run(t0, t1, {0, batch}, [&](long first, long last) {
      weights_of(piece, t0 * batch + first, first, last - first);
    });
  }
  void piece_of_table(int k) {
    if (!pieces_[k].of_steps) weights_of(pieces_[k], 0, 0, table);
  }
  void unpack_gradients(R *flat) {
    for (size_t m = 0; m < cell.matrices.size(); ++m)
      unpack(flat + cell.matrices[m].offset, matrix_gradients_[m], hidden, cell.matrices[m].columns,
             cell.matrices[m].columns);
    for (size_t v = 0; v < cell.vectors.size(); ++v)
      std::memcpy(flat + cell.vectors[v], vector_gradients_[v], hidden * sizeof(R));
  }

 private:
  using Memory::backward_, Memory::by_block_, Memory::ends_, Memory::forward_, Memory::g_;
  using Memory::masks_, Memory::matrix_gradients_, Memory::slots_, Memory::static_g_;
  using Memory::statics_, Memory::vector_gradients_, Memory::vectors_;
  bool wants_input_ = true;

  void pack_vectors(const R *flat) {
    for (size_t v = 0; v < cell.vectors.size(); ++v) {
      std::memcpy(vectors_[v], flat + cell.vectors[v], hidden * sizeof(R));
      std::fill(vectors_[v] + hidden, vectors_[v] + wide * PANEL<R>, R(0));
    }
  }
  View<const R> vector(int v) const { return {vectors_[v], PANEL<R>}; }

  // Runs of neighbouring rows, counted from step t0, of the sequences alive in steps [t0, t1).
  template <class F> void each_run(long t0, long t1, Rows rows, F &&f) const {
    t1 = std::min(t1, steps);
    if (!alive && rows.first == 0 && rows.last == batch) {
      f(0, (t1 - t0) * batch);
      return;
    }
    for (long t = t0; t < t1; ++t) {
      const long last = std::min(rows.last, rows_at(t));
      if (rows.first < last) f((t - t0) * batch + rows.first, (t - t0) * batch + last);
    }
  }

  void linear(const Instruction &i, View<R> y, const View<R> *sources, Start<R> start, Rows rows) {
    Factor<R> factors[8];
    const int count = int(i.sources.size());
    for (int e = 0; e < count; ++e)
      factors[e] = {constant(sources[i.sources[e]]), forward_[i.matrices[e]],
                    cell.matrices[i.matrices[e]].columns};
    for (long j = 0; j < wide; ++j) {
      product_panel(y, factors, count, start, j, hidden, rows.first, rows.last);
      activate_in_place(i.activation, y.p + j * y.stride + rows.first * PANEL<R>,
                        (rows.last - rows.first) * PANEL<R>);
    }
  }
  Start<R> bias_start(const Instruction &i) const {
    if (i.vector < 0) return {};
    return {vectors_[i.vector], PANEL<R>, 0, nullptr};
  }
  void forward_static(const View<R> *v, Rows rows) {
    for (const Instruction &i : cell.statics.forward)
      if (i.op == LINEAR) linear(i, v[i.target], v, bias_start(i), rows);
      else forward_rule(i, v, i.vector >= 0 ? vector(i.vector) : View<const R>{}, wide, rows);
  }
  void step(const Instruction &i, const View<R> *v, long t, long t0, Rows rows) {
    const int32_t *rows_of_table = table ? index + t * batch : nullptr;
    const long row = table ? 0 : (t - t0) * batch;
    if (i.op == LINEAR) {
      Start<R> start = bias_start(i);
      if (i.start >= 0) {
        View<R> from = statics_[i.start].at(row);
        start = {from.p, from.stride, PANEL<R>, rows_of_table};
      }
      linear(i, v[i.target], v, start, rows);
    } else if (i.op == LOAD) {
      View<R> from = statics_[i.sources[0]];
      if (!table) from = from.at(t * batch);
      take_rows(v[i.target], constant(from), rows_of_table, wide, rows);
    } else {
      View<const R> extra{};
      if (i.op == MASK) extra = constant(masks_[i.vector]);
      else if (i.vector >= 0) extra = vector(i.vector);
      forward_rule(i, v, extra, wide, rows);
    }
  }

  void gather(const Gather &w, const View<R> *g, Rows rows) {
    Factor<R> factors[64];
    const View<R> to = g[w.slot];
    Start<R> start{};
    if (!w.first) start = {to.p, to.stride, PANEL<R>, nullptr};
    const long columns = cell.matrices[w.matrices[0]].columns;
    const int all = int(w.linears.size());
    for (int begin = 0; begin < all; begin += 64) {
      const int count = std::min(64, all - begin);
      for (int k = 0; k < count; ++k)
        factors[k] = {constant(g[w.linears[begin + k]]), backward_[w.matrices[begin + k]], hidden};
      product(to, factors, count, start, columns, rows.first, rows.last);
      start = {to.p, to.stride, PANEL<R>, nullptr};
    }
  }
  void move_back(const Block &tape, const Move &m, const View<R> *v, const View<R> *g, Rows rows) {
    if (m.gather >= 0) {
      gather(tape.gathers[m.gather], g, rows);
      return;
    }
    const Instruction &i = tape.forward[m.instruction];
    if (i.op == LINEAR) {
      derive_in_place(i.activation, g[i.target], constant(v[i.target]), wide, rows);
    } else if (i.op != LOAD) {
      View<const R> extra{};
      if (i.op == MASK) extra = constant(masks_[i.vector]);
      else if (i.vector >= 0) extra = vector(i.vector);
      backward_rule(i, m.first, v, g, extra, wide, rows);
    }
  }
  void back_step(const View<R> *v, const View<R> *g, Rows rows) {
    for (const Move &m : cell.steps.backward) move_back(cell.steps, m, v, g, rows);
    for (int s : cell.steps.silent)
      map<R, false>(g[s], wide, rows, [] { return Vec<R>{}; });
  }
  void backward_static(const View<R> *v, Rows rows) {
    for (const Move &m : cell.statics.backward) {
      if (m.gather >= 0 && cell.statics.gathers[m.gather].slot == 0 && !wants_input_) continue;
      move_back(cell.statics, m, v, static_g_.data(), rows);
    }
  }

  // The gradient of one panel of a matrix, or of a vector (source -1).
  struct Piece {
    bool of_steps;
    const Instruction *instruction;
    int source;
    long panel;
    bool fresh;  // nothing has been added yet
  };
  std::vector<Piece> pieces_;

  void list_pieces() {
    for (int of_steps = 1; of_steps >= 0; --of_steps)
      for (const Instruction &i : (of_steps ? cell.steps : cell.statics).forward) {
        if ((i.op == LINEAR || i.op == SCALE) && i.vector >= 0)
          pieces_.push_back({bool(of_steps), &i, -1, 0, true});
        for (size_t e = 0; i.op == LINEAR && e < i.sources.size(); ++e)
          for (long j = 0; j < panels<R>(cell.matrices[i.matrices[e]].columns); ++j)
            pieces_.push_back({bool(of_steps), &i, int(e), j, true});
      }
  }
  // From row `value_row` of the source's values and row `row` of the gradients on.
  void weights_of(Piece &piece, long value_row, long row, long rows) {
    const Instruction &i = *piece.instruction;
    const int source = i.sources[piece.source < 0 ? 0 : piece.source];
    View<const R> a = constant((piece.of_steps ? slots_ : statics_)[source].at(value_row));
    View<const R> d = constant((piece.of_steps ? g_ : static_g_)[i.target].at(row));
    if (piece.source >= 0) {
      const int m = i.matrices[piece.source];
      outer_panel(matrix_gradients_[m], d, hidden, a, cell.matrices[m].columns, piece.panel, rows,
                  piece.fresh);
      piece.fresh = false;
    } else if (i.op == LINEAR) {
      sum_rows(vector_gradients_[i.vector], d, hidden, rows);
    } else {
      scale_gradient(vector_gradients_[i.vector], d, a, rows);
    }
  }
  void scale_gradient(R *to, View<const R> d, View<const R> a, long rows) {
    for (long j = 0; j < wide; ++j)
      for (long r = 0; r < rows; ++r)
        for (int c = 0; c < PANEL<R>; c += WIDTH<R>) {
          R *t = to + j * PANEL<R> + c;
          const long at = r * PANEL<R> + c;
          store(t, load(t) + load(d.p + j * d.stride + at) * load(a.p + j * a.stride + at));
        }
  }
};

}  // namespace evo
