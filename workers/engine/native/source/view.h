// How numbers lie in memory: panels of PANEL columns, in each panel the rows behind each other.
//
// Element (row, column) of a value is at p[(column / PANEL) * stride + row * PANEL + column %
// PANEL]. The micro-kernel writes whole panels, reads rows of one panel at fixed distances, and
// neither packs nor transposes anything; element-wise operations see plain runs of numbers.
// Columns beyond the width are padding: nothing that is read from them reaches a real column.
#pragma once
#include <algorithm>

#include "vec.h"

namespace evo {

template <class R> struct View {
  R *p = nullptr;
  long stride = 0;  // numbers from one panel to the next
  View at(long row) const { return {p + row * PANEL<R>, stride}; }
};

// Numbers that a view of so many rows and columns takes.
template <class R> inline long panels(long columns) {
  return (columns + PANEL<R> - 1) / PANEL<R>;
}
// A stride that does not put the panels of a value on the same cache sets: whole pages apart
// they would evict each other.
template <class R> inline long stride_for(long rows) {
  long bytes = rows * PANEL<R> * long(sizeof(R));
  if (bytes % 4096 == 0 && bytes > 0) rows += 5;
  return rows * PANEL<R>;
}
template <class R> inline long numbers_for(long rows, long columns) {
  return panels<R>(columns) * stride_for<R>(rows);
}

// One line of a panel, or the `width` numbers of it that a narrower value has.
template <class R> inline void copy_line(R *to, const R *from, long width) {
  if (width == PANEL<R>) {
    store(to, load(from));
    store(to + WIDTH<R>, load(from + WIDTH<R>));
  } else {
    std::memcpy(to, from, width * sizeof(R));
  }
}

// Row-major (rows x columns, `step` numbers from row to row) into a view.
template <class R>
inline void read_rows(View<R> to, const R *from, long step, long rows, long columns) {
  for (long j = 0; j * PANEL<R> < columns; ++j) {
    const long width = std::min<long>(PANEL<R>, columns - j * PANEL<R>);
    for (long r = 0; r < rows; ++r) {
      R *t = to.p + j * to.stride + r * PANEL<R>;
      copy_line(t, from + r * step + j * PANEL<R>, width);
      for (long c = width; c < PANEL<R>; ++c) t[c] = 0;
    }
  }
}
template <class R>
inline void write_rows(R *to, View<const R> from, long step, long rows, long columns) {
  for (long j = 0; j * PANEL<R> < columns; ++j) {
    const long width = std::min<long>(PANEL<R>, columns - j * PANEL<R>);
    for (long r = 0; r < rows; ++r)
      copy_line(to + r * step + j * PANEL<R>, from.p + j * from.stride + r * PANEL<R>, width);
  }
}

// Calls f(place in the view, place in the row-major matrix) for each number of rows [first, last).
template <class R, class F>
inline void with_rows(View<R> to, const R *from, long step, long first, long last, long columns,
                      F &&f) {
  for (long j = 0; j * PANEL<R> < columns; ++j) {
    const long width = std::min<long>(PANEL<R>, columns - j * PANEL<R>);
    for (long r = first; r < last; ++r) {
      R *__restrict t = to.p + j * to.stride + r * PANEL<R>;
      const R *__restrict v = from + r * step + j * PANEL<R>;
      if (width == PANEL<R>)  // a length the compiler knows
        for (long c = 0; c < PANEL<R>; ++c) f(t[c], v[c]);
      else
        for (long c = 0; c < width; ++c) f(t[c], v[c]);
    }
  }
}
template <class R>
inline void add_rows(View<R> to, const R *from, long step, long first, long last, long columns) {
  with_rows(to, from, step, first, last, columns, [](R &t, R v) { t += v; });
}
template <class R>
inline void multiply_rows(View<R> to, const R *from, long step, long first, long last,
                          long columns) {
  with_rows(to, from, step, first, last, columns, [](R &t, R v) { t *= v; });
}
template <class R> inline View<const R> constant(View<R> v) { return {v.p, v.stride}; }

template <class R> inline void fill_zero(View<R> v, long rows, long columns) {
  for (long j = 0; j < panels<R>(columns); ++j)
    std::memset(v.p + j * v.stride, 0, rows * PANEL<R> * sizeof(R));
}
template <class R> inline void copy(View<R> to, View<const R> from, long rows, long columns) {
  for (long j = 0; j < panels<R>(columns); ++j)
    std::memcpy(to.p + j * to.stride, from.p + j * from.stride, rows * PANEL<R> * sizeof(R));
}

}  // namespace evo
