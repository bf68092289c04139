// What the kernels share: their arguments, and ways over rows and columns.
//
// MindSpore's ops.Custom (func_type "aot") calls an extern "C" function with the data, the ranks and the
// shapes of its inputs and then its outputs.  Rows of the T towers lie one after the other: tower t has the
// rows bounds[t] .. bounds[t + 1] - 1.  A parameter with one row (or matrix) is shared by the towers.  All
// tensors are float32, ids and bounds int32.  The equations stand beside the cells: hamur/kernels/cells.py.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>
#include "parallel.h"

namespace {

struct Arguments {
  NoDenormals mode;  // as long as the call
  void** data;
  int64_t** shapes;
  int* ranks;
  const float* in(int i) const { return static_cast<const float*>(data[i]); }
  float* out(int i) const { return static_cast<float*>(data[i]); }  // also a parameter that is updated
  const int32_t* ids(int i) const { return static_cast<const int32_t*>(data[i]); }
  int64_t size(int i, int axis) const { return shapes[i][axis]; }
  int64_t count(int i) const {
    int64_t n = 1;
    for (int k = 0; k < ranks[i]; ++k) n *= shapes[i][k];
    return n;
  }
};

// Sums in blocks of rows, so that rounding does not grow with the batch.
constexpr int64_t kColumns = 64, kBlock = 64;

// task(first column, width) for stripes of at most kColumns columns.
template <class Task>
void by_columns(int64_t columns, const Task& task) {
  const int64_t threads = Team::get().threads();
  const int64_t share = (columns + threads - 1) / threads;
  const int64_t stripe = std::min(kColumns, (share + 15) / 16 * 16);
  parallel((columns + stripe - 1) / stripe, [&](int64_t i) {
    task(i * stripe, std::min(stripe, columns - i * stripe));
  });
}

// add(row) for rows from .. to - 1, whose sums over each block of rows go from part to total.
template <class Add>
void block_sums(int64_t from, int64_t to, int64_t numbers, float* part, double* total, Add add) {
  for (int64_t first = from; first < to; first += kBlock) {
    std::memset(part, 0, numbers * sizeof(float));
    for (int64_t r = first, last = std::min(to, first + kBlock); r < last; ++r) add(r);
    for (int64_t c = 0; c < numbers; ++c) total[c] += part[c];
  }
}

constexpr int64_t kTaskRows = 96;  // rows of a task: their vectors stay in the cache

struct RowTask {
  int64_t tower, from, to;
};

inline std::vector<RowTask> row_tasks(const int32_t* bounds, int64_t towers) {
  std::vector<RowTask> tasks;
  for (int64_t t = 0; t < towers; ++t)
    for (int64_t r = bounds[t]; r < bounds[t + 1]; r += kTaskRows)
      tasks.push_back({t, r, std::min<int64_t>(r + kTaskRows, bounds[t + 1])});
  return tasks;
}

}  // namespace
