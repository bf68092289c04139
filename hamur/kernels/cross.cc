// The cross network of DCN.
#include "common.h"
#include "product.h"

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
  const Arguments a{{}, data, shapes, ranks};
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
  const Arguments a{{}, data, shapes, ranks};
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
