// The C interface of whole training steps: what workers/fused.py calls.
#include <chrono>

#include "api.h"
#include "subnormal.h"
#include "trainer.h"

using namespace evo;

namespace {

// Runs `count` steps, the first being step `done + 1`; stops after a loss that is not finite.
// Returns how many losses were written, or -1 - k where batch k holds a token or target that does
// not exist: nothing of that batch is run.
template <class R>
int64_t run(Trainer<R> &trainer, const Step *steps, int64_t count, int64_t done, R *p, R *g, R *m,
            R *v, R *state, void *memory, double *losses, Pool &pool) {
  const FlushSubnormals flush;
  for (int64_t k = 0; k < count; ++k) {
    if (!trainer.in_range(steps[k])) return -1 - k;
    losses[k] = trainer.run(steps[k], p, g, m, v, state, long(done + k + 1), memory, pool);
    if (!std::isfinite(losses[k])) return k + 1;
  }
  return count;
}

}  // namespace

#define EVO_TRAINER(R, NAME)                                                                      \
  EVO_API void *evo_trainer_new_##NAME(const void *cell, const int64_t *plan,                     \
                                       const int64_t *layer_offsets) {                            \
    return new Trainer<R>(*static_cast<const Cell *>(cell), *reinterpret_cast<const Plan *>(plan),\
                          layer_offsets);                                                         \
  }                                                                                               \
  EVO_API void evo_trainer_free_##NAME(void *trainer) { delete static_cast<Trainer<R> *>(trainer); }\
  EVO_API int64_t evo_trainer_bytes_##NAME(void *trainer, const Step *step) {                     \
    return static_cast<Trainer<R> *>(trainer)->bytes(*step);                                      \
  }                                                                                               \
  EVO_API int64_t evo_trainer_run_##NAME(void *trainer, const Step *steps, int64_t count,         \
                                         int64_t done, R *p, R *g, R *m, R *v, R *state,          \
                                         void *memory, double *losses, void *pool) {              \
    return run(*static_cast<Trainer<R> *>(trainer), steps, count, done, p, g, m, v, state, memory,\
               losses, *static_cast<Pool *>(pool));                                               \
  }

EVO_TRAINER(float, f32)
EVO_TRAINER(double, f64)

// The rate of the product's micro-kernel on data in the nearest cache, in GFLOP/s.
EVO_API double evo_peak() {
  constexpr long inner = 64, rows = 16;
  alignas(64) static thread_local float a[rows * inner], w[inner * PANEL<float>],
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
