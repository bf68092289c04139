// Fused kernels of the training step, called through MindSpore's ops.Custom (func_type "aot").
//
// Rows of the T towers lie one after the other: tower t has the rows bounds[t] .. bounds[t + 1] - 1.  A
// parameter with one row (or matrix) is shared by the towers.  All tensors are float32, bounds int32.
// The equations stand beside the cells that call a kernel: hamur/kernels/*.py.
#include <cmath>
#include <vector>
#include "parallel.h"
#include "product.h"

namespace {

struct Arguments {
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

}  // namespace

// x (R, I), weight (T | 1, I, O), [bias (T | 1, O)], bounds (T + 1) -> y (R, O)
extern "C" int product_forward(int n, void** data, int* ranks, int64_t** shapes, const char**, void*,
                               void*) {
  const Arguments a{data, shapes, ranks};
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
  const Arguments a{data, shapes, ranks};
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

namespace {

// What a norm does, as numbers of its options tensor.
struct NormOptions {
  float min_rows, step;
  bool relu, unbiased, pooled;
  explicit NormOptions(const float* o)
      : min_rows(o[0]), step(o[1]), relu(o[2] != 0), unbiased(o[3] != 0), pooled(o[4] != 0) {}
};

// Rows of saved, (5, T, H): center of x, gain, rstd, and the factors of the gradient's two sums.
enum Saved { kCenter, kGain, kRstd, kSlope, kOffset, kSaved };
constexpr float kEpsilon = 1e-5f;

// d = dy where the ReLU let y pass; y null: no ReLU.
inline void masked(const float* __restrict__ dy, const float* __restrict__ y, int64_t n,
                   float* __restrict__ d) {
  if (y)
    for (int64_t c = 0; c < n; ++c) d[c] = y[c] > 0 ? dy[c] : 0.f;
  else
    std::memcpy(d, dy, n * sizeof(float));
}

inline void add_gradient(const float* __restrict__ d, const float* __restrict__ x,
                         const float* __restrict__ center, int64_t n, float* __restrict__ part) {
  for (int64_t c = 0; c < n; ++c) {
    part[c] += d[c];
    part[kColumns + c] += d[c] * (x[c] - center[c]);
  }
}

}  // namespace

// x (R, H), weight (R), gamma, beta (T | 1, H), bias (T | 1, H), mean, variance (G, H) updated,
// options (5), bounds -> y (R, H), saved (5, T, H)
extern "C" int norm_forward(int, void** data, int* ranks, int64_t** shapes, const char**, void*, void*) {
  const Arguments a{data, shapes, ranks};
  const int64_t width = a.size(0, 1), groups = a.size(5, 0), towers = a.size(8, 0) - 1;
  const NormOptions options(a.in(7));
  const int32_t* bounds = a.ids(8);
  const float *x = a.in(0), *weight = a.in(1);
  float *y = a.out(9), *saved = a.out(10);
  const bool pooled = options.pooled;
  by_columns(width, [&](int64_t c0, int64_t n) {
    float part[kColumns];
    for (int64_t g = 0; g < groups; ++g) {
      const int64_t first = pooled ? 0 : g, last = pooled ? towers : g + 1;
      float *mean = a.out(5) + g * width + c0, *variance = a.out(6) + g * width + c0;
      double count = 0, sum[kColumns] = {}, squares[kColumns] = {};
      float center[kColumns], running[kColumns];
      for (int64_t r = bounds[first]; r < bounds[last]; ++r) count += weight[r];
      // Pooled statistics are those of x + bias; a tower's own cancel its bias, and x goes without.
      const auto offset = [&](int64_t t) { return a.in(4) + (a.size(4, 0) > 1 ? t : 0) * width + c0; };
      const bool enough = count >= options.min_rows, used = enough || options.step > 0;
      for (int64_t t = first; used && t < last; ++t) {
        block_sums(bounds[t], bounds[t + 1], n, part, sum, [&](int64_t r) {
          const float* row = x + r * width + c0;
          for (int64_t c = 0; c < n; ++c) part[c] += weight[r] * row[c];
        });
        if (!pooled) continue;
        double own = 0;
        for (int64_t r = bounds[t]; r < bounds[t + 1]; ++r) own += weight[r];
        for (int64_t c = 0; c < n; ++c) sum[c] += own * offset(t)[c];
      }
      const double share = 1 / std::max(count, 1.0);
      for (int64_t c = 0; c < n; ++c) center[c] = sum[c] * share;
      for (int64_t t = first; used && t < last; ++t) {
        float middle[kColumns];
        for (int64_t c = 0; c < n; ++c) middle[c] = pooled ? center[c] - offset(t)[c] : center[c];
        block_sums(bounds[t], bounds[t + 1], n, part, squares, [&](int64_t r) {
          const float* row = x + r * width + c0;
          for (int64_t c = 0; c < n; ++c) {
            const float u = row[c] - middle[c];
            part[c] += weight[r] * u * u;
          }
        });
      }
      const double unbiased = count / std::max(count - 1, 1.0);
      const double step = count > 0 ? options.step : 0;
      const float by_mean = enough ? -share : 0;
      const float by_spread = enough ? -1 / std::max(options.unbiased ? count - 1 : count, 1.0) : 0;
      float rstd[kColumns];
      for (int64_t c = 0; c < n; ++c) {
        const double spread = squares[c] * share;
        running[c] = pooled ? mean[c] : mean[c] - offset(g)[c];
        const double own = enough ? spread * (options.unbiased ? unbiased : 1) : variance[c];
        rstd[c] = 1 / std::sqrt(own + kEpsilon);
        const double drift = center[c] - running[c];
        const double target =
            enough ? spread * unbiased : spread + (1 - options.step) * drift * drift;
        if (!enough) center[c] = running[c];
        if (step == 0) continue;  // evaluation
        mean[c] += step * drift;
        variance[c] += step * (target - variance[c]);
      }
      for (int64_t t = first; t < last; ++t) {
        const int64_t own = (a.size(2, 0) > 1 ? t : 0) * width + c0, place = t * width + c0;
        float shift[kColumns], gain[kColumns];
        for (int64_t c = 0; c < n; ++c) {
          const float middle = pooled ? center[c] - offset(t)[c] : center[c];
          gain[c] = a.in(2)[own + c] * rstd[c];
          shift[c] = a.in(3)[own + c] - middle * gain[c];
          const float factors[kSaved] = {middle, gain[c], rstd[c], by_spread * rstd[c] * rstd[c], by_mean};
          for (int s = 0; s < kSaved; ++s) saved[s * towers * width + place + c] = factors[s];
        }
        for (int64_t r = bounds[t]; r < bounds[t + 1]; ++r) {
          const float* row = x + r * width + c0;
          float* to = y + r * width + c0;
          if (options.relu)
            for (int64_t c = 0; c < n; ++c) to[c] = std::max(row[c] * gain[c] + shift[c], 0.f);
          else
            for (int64_t c = 0; c < n; ++c) to[c] = row[c] * gain[c] + shift[c];
        }
      }
    }
  });
  return 0;
}

// x, y, dy (R, H), saved (5, T, H), gamma (T | 1, H), bias (T | 1, H), weight (R), options, bounds
// -> dx (R, H), dgamma, dbeta (T | 1, H), dbias (T | 1, H)
extern "C" int norm_backward(int, void** data, int* ranks, int64_t** shapes, const char**, void*, void*) {
  const Arguments a{data, shapes, ranks};
  const int64_t width = a.size(0, 1), towers = a.size(8, 0) - 1;
  const NormOptions options(a.in(7));
  const int32_t* bounds = a.ids(8);
  const float *x = a.in(0), *y = a.in(1), *dy = a.in(2), *weight = a.in(6);
  float* dx = a.out(9);
  const bool pooled = options.pooled;
  const int64_t groups = pooled ? 1 : towers;
  const auto factor = [&](Saved s, int64_t t) { return a.in(3) + (s * towers + t) * width; };
  by_columns(width, [&](int64_t c0, int64_t n) {
    for (int i : {10, 11, 12})
      for (int64_t t = 0; t < a.size(i, 0); ++t)
        std::memset(a.out(i) + t * width + c0, 0, n * sizeof(float));
    std::vector<double> sums(towers * 2 * kColumns, 0.0);  // of d and of d (x - center), by tower
    float part[2 * kColumns];
    for (int64_t t = 0; t < towers; ++t) {
      const float* center = factor(kCenter, t) + c0;
      block_sums(bounds[t], bounds[t + 1], 2 * kColumns, part, &sums[t * 2 * kColumns], [&](int64_t r) {
        const int64_t at = r * width + c0;
        float d[kColumns];
        masked(dy + at, options.relu ? y + at : nullptr, n, d);
        add_gradient(d, x + at, center, n, part);
      });
    }
    for (int64_t g = 0; g < groups; ++g) {
      const int64_t first = pooled ? 0 : g, last = pooled ? towers : g + 1;
      double through[2 * kColumns] = {};  // of gain d and of gain d (x - center), over the group
      for (int64_t t = first; t < last; ++t)
        for (int64_t c = 0; c < n; ++c)
          for (int k = 0; k < 2; ++k)
            through[k * kColumns + c] += factor(kGain, t)[c0 + c] * sums[(t * 2 + k) * kColumns + c];
      for (int64_t t = first; t < last; ++t) {
        const double *sum_d = &sums[t * 2 * kColumns], *sum_du = sum_d + kColumns;
        const float *center = factor(kCenter, t) + c0, *gain = factor(kGain, t) + c0;
        const int64_t own = (a.size(10, 0) > 1 ? t : 0) * width + c0;
        const int64_t tower_bias = (a.size(12, 0) > 1 ? t : 0) * width + c0;
        float slope[kColumns], offset[kColumns], all[kColumns] = {};
        for (int64_t c = 0; c < n; ++c) {
          slope[c] = factor(kSlope, t)[c0 + c] * through[kColumns + c];
          offset[c] = factor(kOffset, t)[c0 + c] * through[c];
          a.out(10)[own + c] += factor(kRstd, t)[c0 + c] * sum_du[c];
          a.out(11)[own + c] += sum_d[c];
        }
        for (int64_t r = bounds[t]; r < bounds[t + 1]; ++r) {
          const int64_t at = r * width + c0;
          float d[kColumns];
          masked(dy + at, options.relu ? y + at : nullptr, n, d);
          for (int64_t c = 0; c < n; ++c) {
            const float through = weight[r] * ((x[at + c] - center[c]) * slope[c] + offset[c]);
            all[c] += through;
            d[c] = d[c] * gain[c] + through;
          }
          std::memcpy(dx + at, d, n * sizeof(float));
        }
        // x + bias is what is normalised: pooled statistics see the bias, a tower's own cancel it.
        for (int64_t c = 0; c < n; ++c) {
          const bool few = factor(kOffset, t)[c0 + c] == 0;
          if (pooled)
            a.out(12)[tower_bias + c] += gain[c] * sum_d[c] + all[c];
          else if (few)
            a.out(12)[tower_bias + c] += gain[c] * sum_d[c];
        }
      }
    }
  });
  return 0;
}

namespace {

// y (1, K) = x (1, K) I, or x I' with the matrix read across; I (K, K) row-major.
inline void times(const float* x, const float* instance, int64_t k, float* y) {
  std::memset(y, 0, k * sizeof(float));
  for (int64_t i = 0; i < k; ++i)
    for (int64_t j = 0; j < k; ++j) y[j] += x[i] * instance[i * k + j];
}
inline void times_transposed(const float* x, const float* instance, int64_t k, float* y) {
  for (int64_t i = 0; i < k; ++i) {
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t j = 0; j < k; ++j) sum += x[j] * instance[i * k + j];
    y[i] = sum;
  }
}

// e^x to 2 units in the last place, by 2^n e^r with |r| <= ln 2 / 2; unlike std::exp it is vectorised.
inline float exponential(float x) {
  x = std::min(std::max(x, -87.f), 88.f);
  const float n = std::floor(x * 1.44269504f + 0.5f);
  const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  float sum = 1.f / 5040;
  for (float term : {1.f / 720, 1.f / 120, 1.f / 24, 1.f / 6, 0.5f, 1.f, 1.f}) sum = sum * r + term;
  const int32_t bits = (static_cast<int32_t>(n) + 127) << 23;
  float power;
  std::memcpy(&power, &bits, sizeof power);
  return sum * power;
}

// The four matrices and the bias of a cell, for the rows of one tower.
struct Cell {
  int64_t h, k, m;
  const float *ul, *ur, *bu, *vl, *vr;
  Cell(const Arguments& a, int first, int64_t t)
      : h(a.size(first, 1)), k(a.size(first, 2)), m(a.size(first + 1, 2)) {
    const auto own = [&](int i, int64_t size) { return a.in(i) + (a.size(i, 0) > 1 ? t : 0) * size; };
    ul = own(first, h * k);
    ur = own(first + 1, k * m);
    bu = own(first + 2, m);
    vl = own(first + 3, m * k);
    vr = own(first + 4, k * h);
  }
};

constexpr int64_t kCellRows = 96;  // rows of a task: their vectors stay in the cache

struct RowTask {
  int64_t tower, from, to;
};

std::vector<RowTask> row_tasks(const int32_t* bounds, int64_t towers) {
  std::vector<RowTask> tasks;
  for (int64_t t = 0; t < towers; ++t)
    for (int64_t r = bounds[t]; r < bounds[t + 1]; r += kCellRows)
      tasks.push_back({t, r, std::min<int64_t>(r + kCellRows, bounds[t + 1])});
  return tasks;
}

}  // namespace

// hidden (R, H), instance (R, K, K), w_ul (S, H, K), w_ur (S, K, M), b_u (S', M), w_vl (S, M, K),
// w_vr (S, K, H), bounds -> change (R, H), saved (R, 4 K + M): a, b, c, d, z
extern "C" int cell_forward(int, void** data, int* ranks, int64_t** shapes, const char**, void*, void*) {
  const Arguments x{data, shapes, ranks};
  const int32_t* bounds = x.ids(7);
  const std::vector<RowTask> tasks = row_tasks(bounds, x.size(7, 0) - 1);
  parallel(tasks.size(), [&](int64_t task) {
    const RowTask rows = tasks[task];
    const Cell cell(x, 2, rows.tower);
    const int64_t n = rows.to - rows.from, h = cell.h, k = cell.k, m = cell.m, width = 4 * k + m;
    float *a = x.out(9) + rows.from * width, *b = a + k, *c = b + k, *d = c + k, *z = d + k;
    const float* instance = x.in(1) + rows.from * k * k;
    product(n, k, h, rows_of(x.in(0) + rows.from * h, h), rows_of(cell.ul, k), a, width, false);
    for (int64_t r = 0; r < n; ++r) {
      times(a + r * width, instance + r * k * k, k, b + r * width);
      std::memcpy(z + r * width, cell.bu, m * sizeof(float));
    }
    product(n, m, k, rows_of(b, width), rows_of(cell.ur, m), z, width, true);
    for (int64_t r = 0; r < n; ++r)
      for (int64_t j = 0; j < m; ++j) z[r * width + j] = 1 / (1 + exponential(-z[r * width + j]));
    product(n, k, m, rows_of(z, width), rows_of(cell.vl, k), c, width, false);
    for (int64_t r = 0; r < n; ++r) times(c + r * width, instance + r * k * k, k, d + r * width);
    product(n, h, k, rows_of(d, width), rows_of(cell.vr, h), x.out(8) + rows.from * h, h, false);
  });
  return 0;
}

// hidden, instance, w_ul .. w_vr, bounds as before, saved, dchange (R, H)
// -> dhidden (R, H), dleft, dright (R, 2, K): dI is the sum of dleft' dright, dw_ul .. dw_vr like w_ul ..
extern "C" int cell_backward(int, void** data, int* ranks, int64_t** shapes, const char**, void*, void*) {
  const Arguments x{data, shapes, ranks};
  const int32_t* bounds = x.ids(7);
  const int64_t towers = x.size(7, 0) - 1, k = x.size(2, 2), m = x.size(3, 2), h = x.size(2, 1);
  const int64_t width = 4 * k + m, rows_in_all = bounds[towers];
  // By row: da, db, dc, dd and the gradient of what the sigmoid reads.
  std::vector<float> gradient(rows_in_all * width);
  const std::vector<RowTask> tasks = row_tasks(bounds, towers);
  parallel(tasks.size(), [&](int64_t task) {
    const RowTask rows = tasks[task];
    const Cell cell(x, 2, rows.tower);
    const int64_t n = rows.to - rows.from;
    const float* a = x.in(8) + rows.from * width;
    const float* z = a + 4 * k;
    const float* instance = x.in(1) + rows.from * k * k;
    float *da = gradient.data() + rows.from * width, *db = da + k, *dc = db + k, *dd = dc + k;
    float* dz = dd + k;
    product(n, k, h, rows_of(x.in(9) + rows.from * h, h), rows_of(cell.vr, h).transposed(), dd, width,
            false);
    for (int64_t r = 0; r < n; ++r)
      times_transposed(dd + r * width, instance + r * k * k, k, dc + r * width);
    product(n, m, k, rows_of(dc, width), rows_of(cell.vl, k).transposed(), dz, width, false);
    for (int64_t r = 0; r < n; ++r)
      for (int64_t j = 0; j < m; ++j) dz[r * width + j] *= z[r * width + j] * (1 - z[r * width + j]);
    product(n, k, m, rows_of(dz, width), rows_of(cell.ur, m).transposed(), db, width, false);
    for (int64_t r = 0; r < n; ++r) {
      times_transposed(db + r * width, instance + r * k * k, k, da + r * width);
      float* left = x.out(11) + (rows.from + r) * 2 * k;
      float* right = x.out(12) + (rows.from + r) * 2 * k;
      std::memcpy(left, a + r * width, k * sizeof(float));
      std::memcpy(left + k, a + r * width + 2 * k, k * sizeof(float));
      std::memcpy(right, db + r * width, k * sizeof(float));
      std::memcpy(right + k, dd + r * width, k * sizeof(float));
    }
    product(n, h, k, rows_of(da, width), rows_of(cell.ul, k).transposed(), x.out(10) + rows.from * h, h,
            false);
  });
  // Gradients of the matrices: sums over the rows of a tower, or of all where they are shared.
  const int64_t sides = x.size(2, 0), biases = x.size(4, 0);
  parallel(4 * sides + biases, [&](int64_t task) {
    const bool bias = task >= 4 * sides;
    const int64_t s = bias ? task - 4 * sides : task / 4, number = bias ? biases : sides;
    const int64_t from = number > 1 ? bounds[s] : 0, n = bounds[number > 1 ? s + 1 : towers] - from;
    const float *a = x.in(8) + from * width, *da = gradient.data() + from * width;
    const auto transposed = [&](const float* data) { return rows_of(data, width).transposed(); };
    if (bias) {
      for (int64_t j = 0; j < m; ++j) {
        double sum = 0;
        for (int64_t r = 0; r < n; ++r) sum += da[r * width + 4 * k + j];
        x.out(15)[s * m + j] = sum;
      }
    } else if (task % 4 == 0) {
      product(h, k, n, rows_of(x.in(0) + from * h, h).transposed(), rows_of(da, width),
              x.out(13) + s * h * k, k, false);
    } else if (task % 4 == 1) {
      product(k, m, n, transposed(a + k), rows_of(da + 4 * k, width), x.out(14) + s * k * m, m, false);
    } else if (task % 4 == 2) {
      product(m, k, n, transposed(a + 4 * k), rows_of(da + 2 * k, width), x.out(16) + s * m * k, k, false);
    } else {
      product(k, h, n, transposed(a + 3 * k), rows_of(x.in(9) + from * h, h), x.out(17) + s * k * h, h,
              false);
    }
  });
  return 0;
}

namespace {

// The offsets u_0 .. u_L of a cross network and the constants k_l = u_l . w_l.
struct CrossOffsets {
  std::vector<float> u, k;
  CrossOffsets(const float* weight, const float* bias, int64_t layers, int64_t width)
      : u((layers + 1) * width, 0.f), k(layers) {
    for (int64_t l = 0; l < layers; ++l) {
      double sum = 0;
      for (int64_t p = 0; p < width; ++p) {
        sum += u[l * width + p] * weight[l * width + p];
        u[(l + 1) * width + p] = u[l * width + p] + bias[l * width + p];
      }
      k[l] = sum;
    }
  }
};

}  // namespace

// x (R, P), weight, bias (T, L, P), bounds -> y (R, P), saved (R, 2 L + 1): dots, then c_0 .. c_L
extern "C" int cross_forward(int, void** data, int* ranks, int64_t** shapes, const char**, void*, void*) {
  const Arguments a{data, shapes, ranks};
  const int64_t layers = a.size(1, 1), width = a.size(1, 2), columns = 2 * layers + 1;
  const int64_t towers = a.size(3, 0) - 1;
  const int32_t* bounds = a.ids(3);
  std::vector<CrossOffsets> offsets;
  for (int64_t t = 0; t < towers; ++t)
    offsets.emplace_back(a.in(1) + t * layers * width, a.in(2) + t * layers * width, layers, width);
  const std::vector<RowTask> tasks = row_tasks(bounds, towers);
  parallel(tasks.size(), [&](int64_t task) {
    const RowTask rows = tasks[task];
    const CrossOffsets& own = offsets[rows.tower];
    const float *x = a.in(0) + rows.from * width, *last = &own.u[layers * width];
    const float* weight = a.in(1) + rows.tower * layers * width;
    float *y = a.out(4) + rows.from * width, *dots = a.out(5) + rows.from * columns;
    const int64_t n = rows.to - rows.from;
    product(n, layers, width, rows_of(x, width), rows_of(weight, width).transposed(), dots, columns,
            false);
    for (int64_t r = 0; r < n; ++r, dots += columns) {
      float* c = dots + layers;
      c[0] = 1;
      for (int64_t l = 0; l < layers; ++l) c[l + 1] = c[l] + c[l] * dots[l] + own.k[l];
      for (int64_t p = 0; p < width; ++p) y[r * width + p] = x[r * width + p] * c[layers] + last[p];
    }
  });
  return 0;
}

// x, weight, bias, bounds, saved, dy (R, P) -> dx (R, P), dweight, dbias (T, L, P)
extern "C" int cross_backward(int, void** data, int* ranks, int64_t** shapes, const char**, void*, void*) {
  const Arguments a{data, shapes, ranks};
  const int64_t layers = a.size(1, 1), width = a.size(1, 2), columns = 2 * layers + 1;
  const int64_t towers = a.size(3, 0) - 1;
  const int32_t* bounds = a.ids(3);
  // By row: the gradients of the dots, then those of c_1 .. c_L.
  std::vector<float> gradients(bounds[towers] * 2 * layers);
  const std::vector<RowTask> tasks = row_tasks(bounds, towers);
  parallel(tasks.size(), [&](int64_t task) {
    const RowTask rows = tasks[task];
    const int64_t n = rows.to - rows.from;
    const float *x = a.in(0) + rows.from * width, *dy = a.in(5) + rows.from * width;
    const float *dots = a.in(4) + rows.from * columns, *c = dots + layers;
    float *dx = a.out(6) + rows.from * width, *ddots = &gradients[rows.from * 2 * layers];
    for (int64_t r = 0; r < n; ++r, dots += columns, c += columns) {
      float dc = 0;
#pragma omp simd reduction(+ : dc)
      for (int64_t p = 0; p < width; ++p) dc += dy[r * width + p] * x[r * width + p];
      for (int64_t p = 0; p < width; ++p) dx[r * width + p] = dy[r * width + p] * c[layers];
      for (int64_t l = layers - 1; l >= 0; --l) {
        ddots[r * 2 * layers + l] = dc * c[l];
        ddots[r * 2 * layers + layers + l] = dc;
        dc *= 1 + dots[l];
      }
    }
    product(n, width, layers, rows_of(ddots, 2 * layers),
            rows_of(a.in(1) + rows.tower * layers * width, width), dx, width, true);
  });
  parallel(towers, [&](int64_t t) {
    const int64_t from = bounds[t], n = bounds[t + 1] - from, size = layers * width;
    const float *weight = a.in(1) + t * size, *ddots = &gradients[from * 2 * layers];
    float *dweight = a.out(7) + t * size, *dbias = a.out(8) + t * size;
    const CrossOffsets own(weight, a.in(2) + t * size, layers, width);
    product(layers, width, n, rows_of(ddots, 2 * layers).transposed(),
            rows_of(a.in(0) + from * width, width), dweight, width, false);
    std::vector<float> du(width), part(width);  // of u_L, then of u_(L - 1), ...
    std::vector<double> total(width);
    block_sums(0, n, width, part.data(), total.data(), [&](int64_t r) {
      const float* dy = a.in(5) + (from + r) * width;
      for (int64_t p = 0; p < width; ++p) part[p] += dy[p];
    });
    for (int64_t p = 0; p < width; ++p) du[p] = total[p];
    for (int64_t l = layers - 1; l >= 0; --l) {
      double dk = 0;
      for (int64_t r = 0; r < n; ++r) dk += ddots[r * 2 * layers + layers + l];
      for (int64_t p = 0; p < width; ++p) {
        dbias[l * width + p] = du[p];
        dweight[l * width + p] += dk * own.u[l * width + p];
        du[p] += dk * weight[l * width + p];
      }
    }
  });
  return 0;
}

// ids (B, F), offsets (1, F) int32, table (V, E) -> rows (B, F, E); an id beyond the table reads zeros
extern "C" int embed_forward(int, void** data, int* ranks, int64_t** shapes, const char**, void*, void*) {
  const Arguments a{data, shapes, ranks};
  const int64_t rows = a.size(1, 0), fields = a.size(1, 1), size = a.size(0, 0), width = a.size(0, 1);
  parallel((rows + kCellRows - 1) / kCellRows, [&](int64_t task) {
    const int64_t last = std::min((task + 1) * kCellRows, rows) * fields;
    for (int64_t i = task * kCellRows * fields; i < last; ++i) {
      const int64_t id = a.ids(1)[i] + a.ids(2)[i % fields];
      float* to = a.out(3) + i * width;
      if (id < 0 || id >= size)
        std::memset(to, 0, width * sizeof(float));
      else
        std::memcpy(to, a.in(0) + id * width, width * sizeof(float));
    }
  });
  return 0;
}

// table (V, E) for its shape, ids, offsets, drows (B, F, E) -> dtable (V, E): each thread sums the rows of
// a range of the table, in the order of the batch
extern "C" int embed_backward(int, void** data, int* ranks, int64_t** shapes, const char**, void*, void*) {
  const Arguments a{data, shapes, ranks};
  const int64_t number = a.count(1), fields = a.size(1, 1), size = a.size(0, 0), width = a.size(0, 1);
  const int64_t parts = Team::get().threads();
  parallel(parts, [&](int64_t part) {
    const int64_t from = size * part / parts, to = size * (part + 1) / parts;
    float* sums = a.out(4);
    std::memset(sums + from * width, 0, (to - from) * width * sizeof(float));
    for (int64_t i = 0; i < number; ++i) {
      const int64_t id = a.ids(1)[i] + a.ids(2)[i % fields];
      if (id < from || id >= to) continue;
      const float* row = a.in(3) + i * width;
      for (int64_t e = 0; e < width; ++e) sums[id * width + e] += row[e];
    }
  });
  return 0;
}

// logits, labels, weight (R) -> loss (), dlogits (R):  sum(w (log(1 + e^z) - z y)) / sum(w)
extern "C" int cross_entropy(int, void** data, int* ranks, int64_t** shapes, const char**, void*, void*) {
  const Arguments a{data, shapes, ranks};
  const int64_t rows = a.count(0);
  const float *z = a.in(0), *label = a.in(1), *weight = a.in(2);
  double total = 0, loss = 0;
  for (int64_t r = 0; r < rows; ++r) total += weight[r];
  for (int64_t r = 0; r < rows; ++r) {
    const float e = std::exp(-std::fabs(z[r]));
    loss += weight[r] * (std::max(z[r], 0.f) + std::log1p(e) - z[r] * label[r]);
    const float p = z[r] >= 0 ? 1 / (1 + e) : e / (1 + e);
    a.out(4)[r] = weight[r] * (p - label[r]) / total;
  }
  *a.out(3) = loss / total;
  return 0;
}

namespace {

struct AdamRates {
  float first, second, step, epsilon, penalty, keep;
};

// On its own, so that the compiler may take the arrays for distinct ones.
void adam_update(int64_t n, AdamRates rates, float* __restrict__ w, float* __restrict__ m,
                 float* __restrict__ v, const float* __restrict__ g) {
  for (int64_t i = 0; i < n; ++i) {
    const float gradient = g[i] + rates.penalty * w[i];
    const float first = m[i] + (gradient - m[i]) * rates.first;
    const float second = v[i] + (gradient * gradient - v[i]) * rates.second;
    m[i] = first;
    v[i] = second;
    w[i] = w[i] * rates.keep - rates.step * first / (std::sqrt(second) + rates.epsilon);
  }
}

}  // namespace

// options (4): beta1, beta2, epsilon, decoupled (0 | 1); learning rate (); decays (N); beta1^t, beta2^t (),
// updated; then parameter, first, second (all updated) and gradient of each parameter -> done ()
extern "C" int adam(int n, void** data, int* ranks, int64_t** shapes, const char**, void*, void*) {
  const Arguments a{data, shapes, ranks};
  constexpr int kFirst = 5;
  constexpr int64_t kPart = 1 << 14;
  const float beta1 = a.in(0)[0], beta2 = a.in(0)[1], epsilon = a.in(0)[2];
  const float rate = a.in(1)[0];
  const bool decoupled = a.in(0)[3] != 0;
  const float power1 = *a.out(3) *= beta1, power2 = *a.out(4) *= beta2;
  const float root = std::sqrt(1 - power2);
  const float step = rate * root / (1 - power1), small = epsilon * root;
  struct Part {
    int parameter;
    int64_t from, to;
  };
  std::vector<Part> parts;
  for (int p = 0; p < (n - 1 - kFirst) / 4; ++p)
    for (int64_t size = a.count(kFirst + 4 * p), from = 0; from < size; from += kPart)
      parts.push_back({p, from, std::min(size, from + kPart)});
  parallel(parts.size(), [&](int64_t task) {
    const Part part = parts[task];
    const int at = kFirst + 4 * part.parameter;
    const float decay = a.in(2)[part.parameter];
    const AdamRates rates{1 - beta1, 1 - beta2, step, small, decoupled ? 0 : decay,
                          decoupled ? 1 - rate * decay : 1};
    adam_update(part.to - part.from, rates, a.out(at) + part.from, a.out(at + 1) + part.from,
                a.out(at + 2) + part.from, a.in(at + 3) + part.from);
  });
  *a.out(n - 1) = 0;
  return 0;
}
