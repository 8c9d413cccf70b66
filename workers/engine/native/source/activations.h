// exp, tanh and the activations on vectors, with their derivatives in terms of the output.
//
// Accurate to 3e-7 in float and 1e-15 in double. NaN stays NaN: every clamp is written so that a
// comparison with NaN keeps the number, since a clamp that turns NaN into a bound would hide a
// diverged cell (tanh(NaN) = -1).
#pragma once
#include <type_traits>

#include "vec.h"

namespace evo {

enum Activation : int {  // the order is that of tape.py
  NONE = 0, TANH = 1, SIGMOID = 2, RELU = 3, LEAKY_RELU = 4, SOFTSIGN = 5, ONE_MINUS = 6, COPY = 7
};

template <class R> struct Exp;
template <> struct Exp<float> {
  static constexpr float magic = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer
  static constexpr int mantissa = 23, bias = 127;
  static constexpr float low = -87.0f, high = 88.0f;
  static constexpr float ln2_high = 0.693359375f, ln2_low = -2.12194440e-4f;
  // e^r - 1 as r times this; the Taylor remainder is below 1e-8 for |r| <= ln 2 / 2
  static inline Vec<float> series(Vec<float> r) {
    Vec<float> p = splat(1.0f / 5040);
    p = p * r + 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    return p * r + 1.0f;
  }
};
template <> struct Exp<double> {
  static constexpr double magic = 6755399441055744.0;  // 1.5 * 2^52
  static constexpr int mantissa = 52, bias = 1023;
  static constexpr double low = -708.0, high = 709.0;
  static constexpr double ln2_high = 6.93147180369123816490e-01, ln2_low = 1.90821492927058770002e-10;
  static inline Vec<double> series(Vec<double> r) {
    Vec<double> p = splat(1.0 / 6227020800);
    p = p * r + 1.0 / 479001600;
    p = p * r + 1.0 / 39916800;
    p = p * r + 1.0 / 3628800;
    p = p * r + 1.0 / 362880;
    p = p * r + 1.0 / 40320;
    p = p * r + 1.0 / 5040;
    p = p * r + 1.0 / 720;
    p = p * r + 1.0 / 120;
    p = p * r + 1.0 / 24;
    p = p * r + 1.0 / 6;
    p = p * r + 0.5;
    return p * r + 1.0;
  }
};

template <class R> inline Vec<R> clamp(Vec<R> x, R low, R high) {
  x = x > splat(high) ? splat(high) : x;
  return x < splat(low) ? splat(low) : x;
}

// e^x = scale * (1 + grown): both parts, so that e^x - 1 keeps its digits near x = 0.
template <class R> struct Parts { Vec<R> scale, grown; };
template <class R> inline Parts<R> exp_parts(Vec<R> x) {
  using E = Exp<R>;
  Vec<R> t = x * splat(R(1.44269504088896340736)) + splat(E::magic);
  Vec<R> n = t - splat(E::magic);
  Vec<R> r = x - n * splat(E::ln2_high);
  r = r - n * splat(E::ln2_low);
  IVec<R> bits;
  std::memcpy(&bits, &t, sizeof bits);
  bits = (bits + E::bias) << E::mantissa;
  Parts<R> parts;
  std::memcpy(&parts.scale, &bits, sizeof bits);
  parts.grown = r * E::series(r);
  return parts;
}

template <class R> inline Vec<R> vexp(Vec<R> x) {
  Parts<R> e = exp_parts<R>(clamp<R>(x, Exp<R>::low, Exp<R>::high));
  return e.scale * e.grown + e.scale;
}
template <class R> inline Vec<R> vtanh(Vec<R> x) {
  const R end = sizeof(R) == 4 ? R(20) : R(40);  // tanh is 1 to the last bit beyond half of it
  Parts<R> e = exp_parts<R>(clamp<R>(x + x, -end, end));
  Vec<R> less_one = e.scale * e.grown + (e.scale - R(1));
  return less_one / (less_one + R(2));
}
template <class R> inline Vec<R> vsigmoid(Vec<R> x) { return R(1) / (vexp<R>(-x) + R(1)); }
template <class R> inline Vec<R> vabs(Vec<R> x) { return x < splat(R(0)) ? -x : x; }

constexpr double LEAKY_SLOPE = 0.01;

template <class R, int A> inline Vec<R> activated(Vec<R> x) {
  const Vec<R> zero = splat(R(0));
  if constexpr (A == TANH) return vtanh<R>(x);
  if constexpr (A == SIGMOID) return vsigmoid<R>(x);
  if constexpr (A == RELU) return x <= zero ? zero : x;  // NaN <= 0 is false: NaN stays
  if constexpr (A == LEAKY_RELU) return x > zero ? x : x * R(LEAKY_SLOPE);
  if constexpr (A == SOFTSIGN) return x / (vabs<R>(x) + R(1));
  if constexpr (A == ONE_MINUS) return R(1) - x;
  return x;
}

// g times the derivative, from the output y. A NaN or infinite y must not pass for a gradient of
// zero, so relu multiplies nothing: it keeps g where y > 0.
template <class R, int A> inline Vec<R> derived(Vec<R> g, Vec<R> y) {
  const Vec<R> zero = splat(R(0));
  if constexpr (A == TANH) return g * (R(1) - y * y);
  if constexpr (A == SIGMOID) return g * (y * (R(1) - y));
  if constexpr (A == RELU) return y <= zero ? zero : g;
  if constexpr (A == LEAKY_RELU) return y > zero ? g : g * R(LEAKY_SLOPE);
  if constexpr (A == SOFTSIGN) {
    Vec<R> rest = R(1) - vabs<R>(y);
    return g * (rest * rest);
  }
  if constexpr (A == ONE_MINUS) return -g;
  return g;
}

// Calls f with the activation as a compile-time number.
template <class F> inline void with_activation(int a, F &&f) {
  switch (a) {
    case TANH: f(std::integral_constant<int, TANH>{}); break;
    case SIGMOID: f(std::integral_constant<int, SIGMOID>{}); break;
    case RELU: f(std::integral_constant<int, RELU>{}); break;
    case LEAKY_RELU: f(std::integral_constant<int, LEAKY_RELU>{}); break;
    case SOFTSIGN: f(std::integral_constant<int, SOFTSIGN>{}); break;
    case ONE_MINUS: f(std::integral_constant<int, ONE_MINUS>{}); break;
    default: f(std::integral_constant<int, COPY>{}); break;
  }
}

}  // namespace evo
