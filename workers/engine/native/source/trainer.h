// Whole training steps of a model: front end, layers, head, loss, clipping and Adam.
#pragma once
#include <memory>
#include <numeric>

#include "adam.h"
#include "dense.h"
#include "loss.h"
#include "schedule.h"

namespace evo {

enum Front : int { EMBEDDING = 0, PROJECTION = 1 };
enum Head : int { EACH_STEP = 0, LAST = 1, MEAN_AND_LAST = 2 };
enum Loss : int { CROSS_ENTROPY = 0, SQUARED_ERROR = 1, BERNOULLI = 2 };

// What never changes while a model is trained; offsets count numbers in the flat vector.
struct Plan {
  int64_t front, symbols;         // EMBEDDING: rows; PROJECTION: features
  int64_t layers, head, loss, outputs;
  int64_t front_weight, front_bias, head_weight, head_bias, numbers;
  int64_t ignored;                // CROSS_ENTROPY: this target counts for nothing
  int64_t block_rows;
};

// One batch; pointers are null where something does not apply.
struct Step {
  int64_t steps, batch, carry;
  const void *inputs;        // EMBEDDING: int64 (T, B); PROJECTION: R (T, B, features)
  const void *targets;       // int64 or R, in the order of the predictions
  const int32_t *alive;      // (T,) sequences that reach a step; the longest stand first
  const int32_t *lengths;    // (B,)
  const int32_t *order;      // (B,) place of each sequence in the carried state
  const void *input_masks;   // R (L, B, H)
  const void *state_masks;   // R (L, S, B, H)
  const void *between_masks; // R (L - 1, T, B, H)
  double rate, clip;
};

template <class R> class Trainer {
 public:
  Trainer(const Cell &cell, const Plan &plan, const int64_t *layer_offsets)
      : cell_(cell), plan_(plan), offsets_(layer_offsets, layer_offsets + plan.layers),
        projection_(cell.hidden, plan.front == PROJECTION ? plan.symbols : 1, 1),
        head_(plan.outputs, cell.hidden, plan.head == MEAN_AND_LAST ? 2 : 1),
        place_of_(plan.front == EMBEDDING ? plan.symbols : 0, -1) {}

  // Bytes that a step takes at most; of the step, only sizes and which pointers are null count.
  int64_t bytes(const Step &s) {
    Arena arena(nullptr);
    begin(s, arena, std::min<int64_t>(plan_.symbols, s.steps * s.batch) + 8);
    return arena.used();
  }

  // Whether all tokens and targets exist: what is out of range would be read out of bounds.
  bool in_range(const Step &s) const {
    const int64_t *tokens = static_cast<const int64_t *>(s.inputs);
    for (long i = 0; plan_.front == EMBEDDING && i < s.steps * s.batch; ++i)
      if (uint64_t(tokens[i]) >= uint64_t(plan_.symbols)) return false;
    const int64_t *targets = static_cast<const int64_t *>(s.targets);
    const long rows = plan_.head == EACH_STEP ? s.steps * s.batch : s.batch;
    for (long r = 0; plan_.loss == CROSS_ENTROPY && r < rows; ++r)
      if (targets[r] != plan_.ignored && uint64_t(targets[r]) >= uint64_t(plan_.outputs))
        return false;
    return true;
  }

  // One optimiser step; returns the loss. Where that is no finite number, nothing is changed.
  double run(const Step &s, R *p, R *g, R *m, R *v, R *state, long count, void *memory,
             Pool &pool) {
    pool_ = &pool;
    Arena arena(memory);
    if (plan_.front == EMBEDDING) list_tokens(s);
    begin(s, arena, long(tokens_.size()));
    forward(s, p, state);
    const double loss = backward(s, p, g);
    if (!std::isfinite(loss)) return loss;
    keep_state(s, state);
    const R factor = clip_factor(g, long(plan_.numbers), R(s.clip));
    adam(p, g, m, v, long(plan_.numbers), factor, s.rate, count, *pool_);
    return loss;
  }

 private:
  const Cell &cell_;
  const Plan plan_;
  Pool *pool_ = nullptr;  // of the present call
  std::vector<int64_t> offsets_;
  Dense<R> projection_, head_;
  std::vector<std::unique_ptr<Layer<R>>> layers_;
  std::vector<View<R>> from_above_;  // gradient of each layer's output, all steps
  View<R> features_, front_gradient_, logits_, parts_[2], part_gradients_[2];
  std::vector<RowLoss> losses_;
  std::vector<int32_t> place_of_, tokens_, index_;

  static const R *numbers(const void *p) { return static_cast<const R *>(p); }
  bool looks_up(const Step &s) const { return plan_.front == EMBEDDING && !s.input_masks; }
  Layer<R> &top() { return *layers_.back(); }

  // The distinct tokens of a batch, and for each place which of them stands there.
  void list_tokens(const Step &s) {
    const int64_t *t = static_cast<const int64_t *>(s.inputs);
    tokens_.clear();
    index_.resize(s.steps * s.batch);
    for (long i = 0; i < s.steps * s.batch; ++i) {
      int32_t &place = place_of_[t[i]];
      if (place < 0) {
        place = int32_t(tokens_.size());
        tokens_.push_back(int32_t(t[i]));
      }
      index_[i] = place;
    }
    for (int32_t token : tokens_) place_of_[token] = -1;
  }

  void begin(const Step &s, Arena &arena, long distinct) {
    const long T = s.steps, B = s.batch, H = cell_.hidden;
    const long block = std::max<long>(1, std::min<long>(T, plan_.block_rows / B));
    layers_.clear(), from_above_.clear();
    for (long l = 0; l < plan_.layers; ++l) {
      const bool table = l == 0 && looks_up(s);
      layers_.emplace_back(new Layer<R>(cell_, T, B, block, s.alive, s.state_masks != nullptr,
                                        table ? distinct : 0));
      Layer<R> &layer = *layers_.back();
      if (table) layer.index = index_.data();
      const bool direct = l > 0 && !s.input_masks && !s.between_masks;
      layer.place_values(arena, direct ? layers_[l - 1]->output(0) : View<R>{});
      layer.place_forward(arena);
      layer.place_backward(arena);
      from_above_.push_back(arena.view<R>(T * B, H));
    }
    if (plan_.front == PROJECTION) {
      features_ = arena.view<R>(T * B, plan_.symbols);
      projection_.place(arena);
    }
    if (!looks_up(s)) front_gradient_ = arena.view<R>(T * B, H);
    head_.place(arena);
    const long rows = plan_.head == EACH_STEP ? block * B : B;
    logits_ = arena.view<R>(rows, plan_.outputs);
    for (int k = 0; k < 2 && plan_.head != EACH_STEP; ++k) {
      parts_[k] = arena.view<R>(B, H);
      part_gradients_[k] = arena.view<R>(B, H);
    }
    losses_.assign(plan_.head == EACH_STEP ? T * B : B, {1, 0});
  }

  // ---- forward ----

  void forward(const Step &s, const R *p, const R *state) {
    const long B = s.batch, H = cell_.hidden, S = cell_.states;
    for (long l = 0; l < plan_.layers; ++l) {
      Layer<R> &layer = *layers_[l];
      layer.pack_weights_forward(p + offsets_[l]);
      for (int k = 0; k < S; ++k) {
        if (s.state_masks)
          read_rows(layer.mask(k), numbers(s.state_masks) + (l * S + k) * B * H, H, B, H);
        if (!s.carry) fill_zero(layer.state(k, -1), B, H);
        for (long b = 0; s.carry && b < B; ++b)
          read_rows(layer.state(k, -1).at(b),
                    state + ((l * S + k) * B + (s.order ? s.order[b] : b)) * H, H, 1, H);
      }
      if (l == 0) begin_input(s, p);
      auto before = [&](long t0, long t1, Rows rows) { input(s, p, l, t0, t1, rows); };
      forward_all(layer, *pool_, before, [](long, long, Rows) {});
    }
    // Past the end of a sequence a layer emits zero; a head for each step sees that.
    for (long t = 0; s.alive && plan_.head == EACH_STEP && t < s.steps; ++t)
      fill_zero(top().output(t).at(s.alive[t]), B - s.alive[t], H);
  }

  void begin_input(const Step &s, const R *p) {
    const long H = cell_.hidden;
    if (plan_.front == PROJECTION) {
      projection_.begin(p + plan_.front_weight, p + plan_.front_bias, R(0));
      read_rows(features_, numbers(s.inputs), plan_.symbols, s.steps * s.batch, plan_.symbols);
    } else if (looks_up(s)) {
      for (size_t r = 0; r < tokens_.size(); ++r)
        read_rows(layers_[0]->input(0).at(long(r)), p + plan_.front_weight + tokens_[r] * H, H, 1, H);
    }
  }

  // What layer l reads at steps [t0, t1).
  void input(const Step &s, const R *p, long l, long t0, long t1, Rows rows) {
    const long B = s.batch, H = cell_.hidden;
    Layer<R> &layer = *layers_[l];
    if (l == 0 && looks_up(s)) return;
    for (long t = t0; t < t1; ++t) {
      View<R> x = layer.input(t);
      if (l == 0 && plan_.front == PROJECTION) {
        View<R> in = features_.at(t * B);
        projection_.forward(x, &in, rows);
      } else if (l == 0) {
        const int64_t *tokens = static_cast<const int64_t *>(s.inputs) + t * B;
        for (long b = rows.first; b < rows.last; ++b)
          read_rows(x.at(b), p + plan_.front_weight + tokens[b] * H, H, 1, H);
      } else if (s.input_masks || s.between_masks) {
        take_rows(x, constant(layers_[l - 1]->output(t)), nullptr, panels<R>(H), rows);
      }
      apply_masks(s, l, t, x, rows);
    }
  }
  // Dropout of what layer l reads at step t, or of its gradient.
  void apply_masks(const Step &s, long l, long t, View<R> x, Rows rows) {
    const long B = s.batch, H = cell_.hidden;
    if (l > 0 && s.between_masks)
      multiply_rows(x, numbers(s.between_masks) + ((l - 1) * s.steps + t) * B * H, H, rows.first,
                    rows.last, H);
    if (s.input_masks)
      multiply_rows(x, numbers(s.input_masks) + l * B * H, H, rows.first, rows.last, H);
  }

  void keep_state(const Step &s, R *state) {
    const long B = s.batch, H = cell_.hidden, S = cell_.states;
    for (long l = 0; l < plan_.layers; ++l)
      for (int k = 0; k < S; ++k)
        for (long b = 0; b < B; ++b) {
          const long last = s.lengths ? s.lengths[b] - 1 : s.steps - 1;
          write_rows(state + ((l * S + k) * B + (s.order ? s.order[b] : b)) * H,
                     constant(layers_[l]->state(k, last).at(b)), H, 1, H);
        }
  }

  // ---- backward ----

  double backward(const Step &s, const R *p, R *g) {
    const long B = s.batch, H = cell_.hidden;
    head_.begin(p + plan_.head_weight, p + plan_.head_bias, NO_LOGIT<R>);
    const double scale = loss_scale(s);
    if (plan_.head != EACH_STEP) sequence_head(s, R(scale));
    for (long l = plan_.layers - 1; l >= 0; --l) {
      Layer<R> &layer = *layers_[l];
      const bool is_top = l == plan_.layers - 1;
      layer.pack_weights_backward(p + offsets_[l], true);
      for (int k = 0; k < cell_.states; ++k) fill_zero(layer.end_gradient(k), B, H);
      auto ahead = [&](long t0, long t1, int k, int of) {
        if (is_top && plan_.head == EACH_STEP) step_head(s, t0, t1, R(scale), k, of);
      };
      auto add = [&](long t, View<R> gradient, Rows rows) {
        if (is_top && plan_.head != EACH_STEP) add_sequence_head(s, t, gradient, rows);
        else
          map<R, true>(gradient, panels<R>(H), rows, [](Vec<R> d) { return d; },
                       constant(from_above_[l].at(t * B)));
      };
      auto after = [&](long t0, long t1, Rows rows) {
        for (long t = t0; !layer.table && t < t1; ++t) hand_down(s, l, t, t0, rows);
      };
      backward_all(layer, *pool_, ahead, add, after);
      layer.unpack_gradients(g + offsets_[l]);
    }
    head_.end(g + plan_.head_weight, g + plan_.head_bias);
    front_gradient(s, g);
    return sum_of_losses(losses_.data(), long(losses_.size())) * scale;
  }

  // The gradient of x of layer l at step t, to the layer below or the front end.
  void hand_down(const Step &s, long l, long t, long t0, Rows rows) {
    const long H = cell_.hidden;
    const Rows mine{rows.first, std::min(rows.last, layers_[l]->rows_at(t))};
    View<R> from = layers_[l]->input_gradient(t, t0);
    View<R> to = (l ? from_above_[l - 1] : front_gradient_).at(t * s.batch);
    if (mine.first < mine.last) {
      map<R, false>(to, panels<R>(H), mine, [](Vec<R> d) { return d; }, constant(from));
      apply_masks(s, l, t, to, mine);
    }
    if (l == 0 && mine.last < rows.last)
      fill_zero(to.at(std::max(rows.first, mine.last)),
                rows.last - std::max(rows.first, mine.last), H);
  }

  void front_gradient(const Step &s, R *g) {
    const long H = cell_.hidden, all = s.steps * s.batch;
    if (plan_.front == PROJECTION) {
      projection_.weight_gradient(front_gradient_, &features_, {0, all}, 0, 1);
      projection_.end(g + plan_.front_weight, g + plan_.front_bias);
      return;
    }
    R *table = g + plan_.front_weight;
    std::memset(table, 0, plan_.symbols * H * sizeof(R));
    if (looks_up(s)) {
      View<R> d = layers_[0]->input_gradient(0, 0);
      for (size_t r = 0; r < tokens_.size(); ++r)
        write_rows(table + tokens_[r] * H, constant(d.at(long(r))), H, 1, H);
      return;
    }
    std::vector<R> line(H);
    const int64_t *tokens = static_cast<const int64_t *>(s.inputs);
    for (long r = 0; r < all; ++r) {
      write_rows(line.data(), constant(front_gradient_.at(r)), H, 1, H);
      for (long c = 0; c < H; ++c) table[tokens[r] * H + c] += line[c];
    }
  }

  // ---- head and loss ----

  // What one row's loss is multiplied by: 1 / the number of what is predicted.
  double loss_scale(const Step &s) const {
    const long rows = plan_.head == EACH_STEP ? s.steps * s.batch : s.batch;
    if (plan_.loss == SQUARED_ERROR) return 1.0 / double(rows * plan_.outputs);
    if (plan_.loss == BERNOULLI) {
      const bool padded = plan_.head == EACH_STEP && s.lengths;
      return 1.0 / double(padded ? std::accumulate(s.lengths, s.lengths + s.batch, int64_t(0)) : rows);
    }
    const int64_t *targets = static_cast<const int64_t *>(s.targets);
    long counted = 0;
    for (long r = 0; r < rows; ++r) counted += targets[r] != plan_.ignored;
    return 1.0 / double(counted);
  }
  // Whether a row of predictions lies within its sequence.
  bool is_valid(const Step &s, long row) const {
    return plan_.head != EACH_STEP || !s.alive || row % s.batch < s.alive[row / s.batch];
  }
  // The loss of rows [first, last) of logits_; row 0 predicts target `offset`.
  void losses(const Step &s, long offset, R scale, Rows rows) {
    if (plan_.loss == CROSS_ENTROPY) {
      cross_entropy(logits_, rows.first, rows.last, plan_.outputs,
                    static_cast<const int64_t *>(s.targets) + offset, plan_.ignored, scale,
                    &losses_[offset]);
      return;
    }
    for (long r = rows.first; r < rows.last; ++r) {
      const R *targets = numbers(s.targets) + (offset + r) * plan_.outputs;
      if (plan_.loss == SQUARED_ERROR)
        losses_[offset + r] = squared_error(logits_, r, plan_.outputs, targets, scale);
      else if (is_valid(s, offset + r))
        losses_[offset + r] = bernoulli(logits_, r, plan_.outputs, targets, scale);
      else
        fill_zero(logits_.at(r), 1, plan_.outputs);
    }
  }
  // The part of thread k of `of`.
  void step_head(const Step &s, long t0, long t1, R scale, int k, int of) {
    const long first = t0 * s.batch, count = (t1 - t0) * s.batch;
    View<R> in = top().output(t0), out = from_above_.back().at(first);
    const Rows rows = share(count, k, of);
    head_.forward(logits_, &in, rows);
    losses(s, first, scale, rows);
    head_.input_gradient(out, logits_, 0, rows);
    pool_->barrier(of);
    head_.weight_gradient(logits_, &in, {0, count}, k, of);
  }
  void sequence_head(const Step &s, R scale) {
    const long B = s.batch, H = cell_.hidden;
    const int last_part = plan_.head == MEAN_AND_LAST ? 1 : 0;
    for (long b = 0; b < B; ++b) {
      const long length = s.lengths ? s.lengths[b] : s.steps;
      copy(parts_[last_part].at(b), constant(top().output(length - 1).at(b)), 1, H);
      if (!last_part) continue;
      fill_zero(parts_[0].at(b), 1, H);
      for (long t = 0; t < length; ++t)
        map<R, true>(parts_[0].at(b), panels<R>(H), {0, 1}, [](Vec<R> y) { return y; },
                     constant(top().output(t).at(b)));
      map<R, false>(parts_[0].at(b), panels<R>(H), {0, 1},
                    [=](Vec<R> y) { return y / R(length); }, constant(parts_[0].at(b)));
    }
    head_.forward(logits_, parts_, {0, B});
    losses(s, 0, scale, {0, B});
    for (long k = 0; k <= last_part; ++k) head_.input_gradient(part_gradients_[k], logits_, k, {0, B});
    head_.weight_gradient(logits_, parts_, {0, B}, 0, 1);
  }
  void add_sequence_head(const Step &s, long t, View<R> gradient, Rows rows) {
    const long n = panels<R>(cell_.hidden);
    const int last_part = plan_.head == MEAN_AND_LAST ? 1 : 0;
    auto gain = [&](long b, int part, R weight) {
      map<R, true>(gradient, n, {b, b + 1}, [=](Vec<R> d) { return d * weight; },
                   constant(part_gradients_[part]));
    };
    for (long b = rows.first; b < rows.last; ++b) {
      const long length = s.lengths ? s.lengths[b] : s.steps;
      if (last_part) gain(b, 0, R(1) / R(length));
      if (t == length - 1) gain(b, last_part, R(1));
    }
  }
};

}  // namespace evo
