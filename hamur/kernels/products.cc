// Products of rows by towers.
#include "common.h"
#include "product.h"

// x (R, I), weight (T | 1, I, O), [bias (T | 1, O)], bounds (T + 1) -> y (R, O)
extern "C" int product_forward(int n, void** data, int* ranks, int64_t** shapes, const char**, void*,
                               void*) {
  const Arguments a{{}, data, shapes, ranks};
  const bool biased = n == 5;
  const int64_t in = a.size(1, 1), out = a.size(1, 2), matrices = a.size(1, 0);
  const int32_t* bounds = a.ids(n - 2);
  const int64_t towers = a.size(n - 2, 0) - 1;
  float* y = a.out(n - 1);
  std::vector<Grid> grids;
  std::vector<int64_t> ends;
  for (int64_t t = 0, end = 0; t < towers; ++t) {
    grids.emplace_back(bounds[t + 1] - bounds[t], out, in);
    ends.push_back(end += grids.back().tasks());
  }
  if (biased)
    for (int64_t t = 0; t < towers; ++t)
      for (int64_t r = bounds[t]; r < bounds[t + 1]; ++r)
        std::memcpy(y + r * out, a.in(2) + (a.size(2, 0) > 1 ? t : 0) * out, out * sizeof(float));
  parallel(ends.back(), [&](int64_t task) {
    const int64_t t = std::upper_bound(ends.begin(), ends.end(), task) - ends.begin();
    const float* weight = a.in(1) + (matrices > 1 ? t : 0) * in * out;
    grids[t].run(task - (t ? ends[t - 1] : 0), in, rows_of(a.in(0) + bounds[t] * in, in),
                 rows_of(weight, out), y + bounds[t] * out, biased);
  });
  return 0;
}

// x (R, I), weight (T | 1, I, O), dy (R, O), bounds -> dx (R, I), dweight like weight, [dbias (T | 1, O)]
extern "C" int product_backward(int n, void** data, int* ranks, int64_t** shapes, const char**, void*,
                                void*) {
  const Arguments a{{}, data, shapes, ranks};
  const int64_t in = a.size(1, 1), out = a.size(1, 2), matrices = a.size(1, 0);
  const int32_t* bounds = a.ids(3);
  const int64_t towers = a.size(3, 0) - 1;
  float *dx = a.out(4), *dweight = a.out(5);
  struct Part {
    Grid grid;
    int64_t tower, end;
    bool weights;
  };
  std::vector<Part> parts;
  int64_t end = 0;
  for (int64_t t = 0; t < towers; ++t) {
    const Grid grid(bounds[t + 1] - bounds[t], in, out);
    parts.push_back({grid, t, end += grid.tasks(), false});
  }
  // Shared weights: the rows of all towers are one block.
  for (int64_t t = 0; t < matrices; ++t) {
    const int64_t rows = matrices > 1 ? bounds[t + 1] - bounds[t] : bounds[towers];
    const Grid grid(in, out, rows);
    parts.push_back({grid, t, end += grid.tasks(), true});
  }
  parallel(end, [&](int64_t task) {
    size_t p = 0;
    while (task >= parts[p].end) ++p;
    const int64_t t = parts[p].tower, first = p ? parts[p - 1].end : 0;
    const int64_t from = bounds[t], rows = (matrices > 1 ? bounds[t + 1] : bounds[towers]) - from;
    const Matrix dy = rows_of(a.in(2) + from * out, out);
    if (parts[p].weights) {
      parts[p].grid.run(task - first, rows, rows_of(a.in(0) + from * in, in).transposed(), dy,
                        dweight + t * in * out, false);
    } else {
      const float* weight = a.in(1) + (matrices > 1 ? t : 0) * in * out;
      parts[p].grid.run(task - first, out, dy, rows_of(weight, out).transposed(), dx + from * in,
                        false);
    }
  });
  if (n == 7) {
    const int64_t biases = a.size(6, 0);
    by_columns(out, [&](int64_t c0, int64_t width) {
      float part[kColumns];
      for (int64_t t = 0; t < biases; ++t) {
        double total[kColumns] = {};
        const int64_t from = biases > 1 ? bounds[t] : 0, to = bounds[biases > 1 ? t + 1 : towers];
        block_sums(from, to, width, part, total, [&](int64_t r) {
          const float* row = a.in(2) + r * out + c0;
          for (int64_t c = 0; c < width; ++c) part[c] += row[c];
        });
        for (int64_t c = 0; c < width; ++c) a.out(6)[t * out + c0 + c] = total[c];
      }
    });
  }
  return 0;
}

// The same with the gradient of a bias. MindSpore's eager mode remembers how many outputs a function has
// by its name and the shapes of its inputs, so each number of outputs has a name of its own.
extern "C" int dense_backward(int n, void** data, int* ranks, int64_t** shapes, const char** types,
                              void* stream, void* extra) {
  return product_backward(n, data, ranks, shapes, types, stream, extra);
}
