// The products of an adapter cell.
#include "common.h"
#include "product.h"

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

}  // namespace

// hidden (R, H), instance (R, K, K), w_ul (S, H, K), w_ur (S, K, M), b_u (S', M), w_vl (S, M, K),
// w_vr (S, K, H), bounds -> change (R, H), saved (R, 4 K + M): a, b, c, d, z
extern "C" int cell_forward(int, void** data, int* ranks, int64_t** shapes, const char**, void*, void*) {
  const Arguments x{{}, data, shapes, ranks};
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
  const Arguments x{{}, data, shapes, ranks};
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
