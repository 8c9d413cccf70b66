// A few threads of our own that wait for work; never torch's, which may be busy or spinning.
#pragma once
#include <atomic>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace evo {

class Pool {
 public:
  explicit Pool(int size) : size_(size < 1 ? 1 : size) {
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

  // Runs f(0) ... f(size - 1), one on each thread, and returns when all are done.
  void run(const std::function<void(int)> &f) {
    if (size_ == 1) return f(0);
    std::unique_lock<std::mutex> mine(owner_, std::try_to_lock);
    if (!mine.owns_lock()) {  // another caller uses the threads: the same work, one after the other
      for (int k = 0; k < size_; ++k) f(k);
      return;
    }
    {
      std::lock_guard<std::mutex> hold(mutex_);
      work_ = &f;
      left_ = size_ - 1;
      ++round_;
    }
    wake_.notify_all();
    f(0);
    for (int spin = 0; left_.load() > 0; ++spin)
      if (spin > 2000) std::this_thread::yield();
  }

 private:
  void serve(int k) {
    long seen = 0;
    for (;;) {
      for (int spin = 0; spin < 2000 && round_.load() == seen; ++spin) {}
      if (round_.load() == seen) {
        std::unique_lock<std::mutex> hold(mutex_);
        wake_.wait(hold, [&] { return round_.load() != seen; });
      }
      seen = round_.load();
      if (ended_) return;
      (*work_)(k);
      --left_;
    }
  }
  const int size_;
  std::vector<std::thread> threads_;
  std::mutex owner_, mutex_;
  std::condition_variable wake_;
  const std::function<void(int)> *work_ = nullptr;
  std::atomic<int> left_{0};
  std::atomic<long> round_{0};
  std::atomic<bool> ended_{false};
};

}  // namespace evo
