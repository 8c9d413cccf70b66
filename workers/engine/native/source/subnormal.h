// Numbers too small for their full precision count as zero while a guard lives, on its thread.
//
// Gradients that fade through time end as subnormal numbers, and a processor may take a hundred
// cycles for an operation on one: a whole training then takes several times as long, for the sake
// of gradients below 1e-38. NaN and infinity are as ever.
#pragma once
#include <cstdint>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace evo {

class FlushSubnormals {
 public:
  FlushSubnormals() : before_(mode()) { set(before_ | FLUSH); }
  ~FlushSubnormals() { set(before_); }
  FlushSubnormals(const FlushSubnormals &) = delete;
  FlushSubnormals &operator=(const FlushSubnormals &) = delete;

 private:
#if defined(__x86_64__)
  typedef unsigned int Mode;
  static constexpr Mode FLUSH = 0x8040;  // of results (FTZ) and of operands (DAZ)
  static Mode mode() { return _mm_getcsr(); }
  static void set(Mode to) { _mm_setcsr(to); }
#elif defined(__aarch64__)
  typedef uint64_t Mode;
  static constexpr Mode FLUSH = uint64_t(1) << 24;  // FZ: of both
  static Mode mode() {
    Mode now;
    asm volatile("mrs %0, fpcr" : "=r"(now));
    return now;
  }
  static void set(Mode to) { asm volatile("msr fpcr, %0" ::"r"(to)); }
#else
  typedef int Mode;
  static constexpr Mode FLUSH = 0;
  static Mode mode() { return 0; }
  static void set(Mode) {}
#endif
  const Mode before_;
};

}  // namespace evo
