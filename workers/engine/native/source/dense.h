// A linear map outside the cells: the projection of features, and the head. Its weight may be
// cut into blocks of columns, one for each value it reads.
#pragma once
#include "arena.h"
#include "elementwise.h"
#include "product.h"

namespace evo {

template <class R> class Dense {
 public:
  const long outputs, inner, blocks;  // the weight is (outputs, blocks * inner)
  Dense(long outputs_, long inner_, long blocks_)
      : outputs(outputs_), inner(inner_), blocks(blocks_) {}

  void place(Arena &arena) {
    forward_.clear(), backward_.clear(), gradient_.clear();
    for (long b = 0; b < blocks; ++b) {
      forward_.push_back(arena.take<R>(packed_forward<R>(outputs, inner)));
      backward_.push_back(arena.take<R>(packed_backward<R>(outputs, inner)));
      gradient_.push_back(arena.take<R>(packed_gradient<R>(outputs, inner)));
    }
    bias_ = arena.take<R>(panels<R>(outputs) * PANEL<R>);
    bias_gradient_ = arena.take<R>(panels<R>(outputs) * PANEL<R>);
  }
  // Columns beyond the outputs get the bias `beyond`.
  void begin(const R *weight, const R *bias, R beyond) {
    const long step = blocks * inner;
    for (long b = 0; b < blocks; ++b) {
      pack_forward(forward_[b], weight + b * inner, outputs, inner, step);
      pack_backward(backward_[b], weight + b * inner, outputs, inner, step);
    }
    fresh_.assign(panels<R>(inner) * blocks, 1);
    std::memset(bias_gradient_, 0, panels<R>(outputs) * PANEL<R> * sizeof(R));
    std::memcpy(bias_, bias, outputs * sizeof(R));
    std::fill(bias_ + outputs, bias_ + panels<R>(outputs) * PANEL<R>, beyond);
  }
  void forward(View<R> out, const View<R> *in, Rows rows) const {
    Factor<R> factors[4];
    for (long b = 0; b < blocks; ++b) factors[b] = {constant(in[b]), forward_[b], inner};
    product(out, factors, int(blocks), Start<R>{bias_, PANEL<R>, 0, nullptr}, outputs, rows.first,
            rows.last);
  }
  void input_gradient(View<R> in, View<R> out, long block, Rows rows) const {
    Factor<R> factor{constant(out), backward_[block], outputs};
    product(in, &factor, 1, Start<R>{}, inner, rows.first, rows.last);
  }
  // The part of thread k of `of`; `begin` makes the gradient zero.
  void weight_gradient(View<R> out, const View<R> *in, Rows rows, int k, int of) {
    const long each = panels<R>(inner), count = rows.last - rows.first;
    if (count <= 0) return;
    for (long piece = k; piece < each * blocks; piece += of) {
      outer_panel(gradient_[piece / each], constant(out.at(rows.first)), outputs,
                  constant(in[piece / each].at(rows.first)), inner, piece % each, count,
                  bool(fresh_[piece]));
      fresh_[piece] = 0;
    }
    if (k == 0) sum_rows(bias_gradient_, constant(out.at(rows.first)), outputs, count);
  }
  void end(R *weight_gradient, R *bias_gradient) const {
    for (long b = 0; b < blocks; ++b)
      unpack(weight_gradient + b * inner, gradient_[b], outputs, inner, blocks * inner);
    std::memcpy(bias_gradient, bias_gradient_, outputs * sizeof(R));
  }

 private:
  std::vector<R *> forward_, backward_, gradient_;
  R *bias_ = nullptr, *bias_gradient_ = nullptr;
  std::vector<char> fresh_;  // by piece: no gradient has been added yet
};

}  // namespace evo
