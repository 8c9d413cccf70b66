// Vectors of one register, for float and double alike, with gcc/clang vector types.
//
// EVO_VEC_BYTES (16, 32 or 64) is chosen by the build for each variant of the library; the code
// is the same for all of them.
#pragma once
#include <cstdint>
#include <cstring>

#ifndef EVO_VEC_BYTES
#define EVO_VEC_BYTES 16
#endif

// Unrolled before the compiler decides what lives in registers: tiles of vectors must.
#define EVO_NOINLINE __attribute__((noinline))
#define EVO_UNROLL _Pragma("GCC unroll 16")

namespace evo {

// aligned(...) below makes loads and stores legal at any address of a number; may_alias lets
// them look at plain arrays.
template <class R> struct Lanes;
template <> struct Lanes<float> {
  typedef float V __attribute__((vector_size(EVO_VEC_BYTES)));
  typedef float U __attribute__((vector_size(EVO_VEC_BYTES), aligned(4), may_alias));
  typedef uint32_t I __attribute__((vector_size(EVO_VEC_BYTES)));
};
template <> struct Lanes<double> {
  typedef double V __attribute__((vector_size(EVO_VEC_BYTES)));
  typedef double U __attribute__((vector_size(EVO_VEC_BYTES), aligned(8), may_alias));
  typedef uint64_t I __attribute__((vector_size(EVO_VEC_BYTES)));
};

template <class R> using Vec = typename Lanes<R>::V;
template <class R> using IVec = typename Lanes<R>::I;
template <class R> constexpr int WIDTH = EVO_VEC_BYTES / sizeof(R);
// Columns of a panel: what one tile of the micro-kernel computes side by side.
template <class R> constexpr int PANEL = 2 * WIDTH<R>;

template <class R> inline Vec<R> load(const R *p) {
  return *reinterpret_cast<const typename Lanes<R>::U *>(p);
}
template <class R> inline void store(R *p, Vec<R> v) {
  *reinterpret_cast<typename Lanes<R>::U *>(p) = v;
}
// x - 0 is x for every x, so this is one broadcast; 0 + x is not (x = -0) and would be added.
template <class R> inline Vec<R> splat(R x) { return x - Vec<R>{}; }

inline long round_up(long n, long unit) { return (n + unit - 1) / unit * unit; }

}  // namespace evo
