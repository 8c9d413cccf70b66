// A few threads of our own that wait for work; never torch's, which may be busy or spinning.
#pragma once
#include <atomic>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "subnormal.h"

namespace evo {

class Pool {
 public:
  // Work (multiply-adds) below `worth_waking` is done by the caller alone.
  Pool(int size, long worth_waking) : size_(size < 1 ? 1 : size), worth_waking_(worth_waking) {
    for (int k = 1; k < size_; ++k) threads_.emplace_back([this, k] { serve(k); });
  }
  ~Pool() {
    {
      std::lock_guard<std::mutex> hold(mutex_);
      ended_ = true;
      ++round_;
    }
    wake_.notify_all();
    for (std::thread &t : threads_) t.join();
  }
  int size() const { return size_; }

  // Runs f(k, of) for k = 0 ... of - 1, each on a thread of its own, and returns when all are done.
  // `of` is the size, or 1 where the work is too small or another caller uses the threads: whatever
  // is divided among them must come out the same.
  void run(long work, const std::function<void(int, int)> &f) {
    std::unique_lock<std::mutex> mine(owner_, std::defer_lock);
    if (size_ == 1 || work < worth_waking_ || !mine.try_lock()) return f(0, 1);
    {
      std::lock_guard<std::mutex> hold(mutex_);
      work_ = &f;
      left_ = size_ - 1;
      ++round_;
    }
    wake_.notify_all();
    f(0, size_);
    wait([&] { return left_.load() == 0; });
  }
  // Inside f: goes on when all `of` threads have come here.
  void barrier(int of) {
    if (of == 1) return;
    const long phase = phase_.load();
    if (++arrived_ == of) {
      arrived_ = 0;
      ++phase_;
    } else {
      wait([&] { return phase_.load() != phase; });
    }
  }

 private:
  // Busy for a moment, since others come soon; then polite, since there may be more threads than
  // cores.
  template <class F> static void wait(F &&done) {
    for (long spin = 0; !done(); ++spin)
      if (spin > 20000) std::this_thread::yield();
  }
  void serve(int k) {
    const FlushSubnormals flush;  // as on the thread that calls
    long seen = 0;
    for (;;) {
      for (int spin = 0; spin < 20000 && round_.load() == seen; ++spin) {}
      if (round_.load() == seen) {
        std::unique_lock<std::mutex> hold(mutex_);
        wake_.wait(hold, [&] { return round_.load() != seen; });
      }
      seen = round_.load();
      if (ended_) return;
      (*work_)(k, size_);
      --left_;
    }
  }
  const int size_;
  const long worth_waking_;
  std::vector<std::thread> threads_;
  std::mutex owner_, mutex_;
  std::condition_variable wake_;
  const std::function<void(int, int)> *work_ = nullptr;
  std::atomic<int> left_{0}, arrived_{0};
  std::atomic<long> round_{0}, phase_{0};
  std::atomic<bool> ended_{false};
};

}  // namespace evo
