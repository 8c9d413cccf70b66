// The C interface of whole training steps: what trainer.py calls.
#include <chrono>

#include "api.h"
#include "trainer.h"

using namespace evo;

#define EVO_TRAINER(R, NAME)                                                                      \
  EVO_API void evo_trainer_new_##NAME(const void *cell, const int64_t *plan,                      \
                                      const int64_t *layer_offsets, void *pool, void **result) {  \
    *result = new Trainer<R>(*static_cast<const Cell *>(cell),                                    \
                             *reinterpret_cast<const Plan *>(plan), layer_offsets,                \
                             *static_cast<Pool *>(pool));                                         \
  }                                                                                               \
  EVO_API void evo_trainer_free_##NAME(void *trainer) {                                           \
    delete static_cast<Trainer<R> *>(trainer);                                                    \
  }                                                                                               \
  EVO_API void evo_trainer_bytes_##NAME(void *trainer, const Step *step, int64_t *result) {       \
    *result = static_cast<Trainer<R> *>(trainer)->bytes(*step);                                   \
  }                                                                                               \
  /* Runs `count` steps, the first being step `done + 1`; stops after a loss that is not finite. \
     Returns through `ran` how many losses were written; -1 - k where batch k holds a token or \
     target that does not exist (nothing of it is run). */                                        \
  EVO_API void evo_trainer_run_##NAME(void *trainer, const Step *steps, int64_t count,            \
                                      int64_t done, R *p, R *g, R *m, R *v, R *state,             \
                                      void *memory, double *losses, int64_t *ran) {               \
    for (*ran = 0; *ran < count;) {                                                               \
      const int64_t k = *ran;                                                                     \
      if (!static_cast<Trainer<R> *>(trainer)->in_range(steps[k])) {                              \
        *ran = -1 - k;                                                                            \
        return;                                                                                   \
      }                                                                                           \
      losses[k] = static_cast<Trainer<R> *>(trainer)->run(steps[k], p, g, m, v, state,            \
                                                          long(done + k + 1), memory);            \
      ++*ran;                                                                                     \
      if (!std::isfinite(losses[k])) break;                                                       \
    }                                                                                             \
  }

EVO_TRAINER(float, f32)
EVO_TRAINER(double, f64)

// The rate of the product's micro-kernel on data in the nearest cache, in GFLOP/s.
EVO_API double evo_peak() {
  constexpr long inner = 64, rows = 16;
  alignas(64) static thread_local float a[rows * PANEL<float> * 4], w[inner * PANEL<float>],
      out[rows * PANEL<float>];
  Factor<float> factor{{a, rows * PANEL<float>}, w, inner};
  double best = 0;
  for (int round = 0; round < 20; ++round) {
    const auto begin = std::chrono::steady_clock::now();
    const int repeats = 2000;
    for (int k = 0; k < repeats; ++k) {
      product<float>(View<float>{out, 0}, &factor, 1, Start<float>{}, PANEL<float>, 0, rows);
      asm volatile("" ::: "memory");
    }
    const double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    best = std::max(best, 2.0 * repeats * rows * inner * PANEL<float> / seconds / 1e9);
  }
  return best;
}
