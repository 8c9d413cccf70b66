// One block of memory, handed out in pieces; run once without memory it tells how much it takes.
#pragma once
#include "view.h"

namespace evo {

class Arena {
 public:
  explicit Arena(void *base) : base_(static_cast<char *>(base)) {}
  template <class R> R *take(long numbers) {
    char *p = base_ ? base_ + used_ : nullptr;
    used_ += round_up(numbers * long(sizeof(R)), 64) + 64;  // apart, so that starts differ in set
    return reinterpret_cast<R *>(p);
  }
  template <class R> View<R> view(long rows, long columns) {
    const long stride = stride_for<R>(rows);
    return {take<R>(panels<R>(columns) * stride), stride};
  }
  long used() const { return used_; }

 private:
  char *base_;
  long used_ = 0;
};

}  // namespace evo
