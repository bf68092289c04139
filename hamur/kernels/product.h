// C = A B for float32 matrices of any strides, in panels of B's columns that are packed once.
//
// The inner loop keeps a block of kRows x kPanel sums in registers.  Every sum is formed in the order of
// k, in blocks of kDepth, whatever the number of threads.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstring>
#include "parallel.h"

#if defined(__AVX512F__)
constexpr int kVector = 16, kRows = 12;
#elif defined(__AVX__)
constexpr int kVector = 8, kRows = 6;
#elif defined(__ARM_NEON)
constexpr int kVector = 4, kRows = 12;
#else
constexpr int kVector = 4, kRows = 6;
#endif
typedef float Vector __attribute__((vector_size(kVector * 4), aligned(4)));
constexpr int kPanel = 2 * kVector;
constexpr int64_t kDepth = 384;

struct Matrix {  // element (i, j) at data[i * row + j * column]
  const float* data;
  int64_t row, column;
  Matrix from(int64_t i, int64_t j) const { return {data + i * row + j * column, row, column}; }
  Matrix transposed() const { return {data, column, row}; }
};

static inline Matrix rows_of(const float* data, int64_t width) { return {data, width, 1}; }

template <int M, int N>  // M rows, N vectors of columns
static void block(int64_t depth, Matrix a, const float* b, float* c, int64_t ldc, int columns,
                  bool add) {
  Vector sums[M][N];
#pragma GCC unroll 16
  for (int i = 0; i < M; ++i)
    for (int v = 0; v < N; ++v) sums[i][v] = Vector{};
  for (int64_t k = 0; k < depth; ++k, b += kPanel) {
    Vector row[N];
    for (int v = 0; v < N; ++v) row[v] = *(const Vector*)(b + v * kVector);
    const float* column = a.data + k * a.column;
#pragma GCC unroll 16
    for (int i = 0; i < M; ++i)
      for (int v = 0; v < N; ++v) sums[i][v] += column[i * a.row] * row[v];
  }
#pragma GCC unroll 16
  for (int i = 0; i < M; ++i, c += ldc) {
    if (columns == N * kVector) {
      for (int v = 0; v < N; ++v) {
        Vector* place = (Vector*)(c + v * kVector);
        *place = add ? *place + sums[i][v] : sums[i][v];
      }
    } else {
      float row[N * kVector];
      std::memcpy(row, sums[i], sizeof row);
      for (int j = 0; j < columns; ++j) c[j] = add ? c[j] + row[j] : row[j];
    }
  }
}

using Block = void (*)(int64_t, Matrix, const float*, float*, int64_t, int, bool);

template <int M>
static void fill_blocks(Block (*table)[2]) {
  table[M][0] = block<M, 1>;
  table[M][1] = block<M, 2>;
  if constexpr (M > 1) fill_blocks<M - 1>(table);
}

static inline Block block_of(int64_t rows, bool wide) {
  static Block table[kRows + 1][2];
  static const bool filled = (fill_blocks<kRows>(table), true);
  (void)filled;
  return table[rows][wide];
}

// Columns of B, depth x columns, as panels of kPanel columns one after the other; zeros fill the last.
static void pack(Matrix b, int64_t depth, int64_t columns, float* out) {
  for (int64_t j = 0; j < columns; j += kPanel, out += depth * kPanel) {
    const int64_t width = std::min<int64_t>(kPanel, columns - j);
    if (width < kPanel) std::memset(out, 0, depth * kPanel * sizeof(float));
    Matrix panel = b.from(0, j);
    if (b.column == 1) {
      for (int64_t k = 0; k < depth; ++k)
        std::memcpy(out + k * kPanel, panel.data + k * b.row, width * sizeof(float));
    } else {
      for (int64_t c = 0; c < width; ++c)
        for (int64_t k = 0; k < depth; ++k) out[k * kPanel + c] = panel.data[k * b.row + c * b.column];
    }
  }
}

// c (m, n) with rows of ldc floats = a (m, depth) b (depth, n), by the calling thread alone.
static void product(int64_t m, int64_t n, int64_t depth, Matrix a, Matrix b, float* c, int64_t ldc,
                    bool add) {
  if (depth == 0 && !add)
    for (int64_t i = 0; i < m; ++i) std::memset(c + i * ldc, 0, n * sizeof(float));
  const int64_t steps = (m + kRows - 1) / kRows, panels = (n + kPanel - 1) / kPanel;
  for (int64_t from = 0; from < depth; from += kDepth) {
    const int64_t part = std::min(kDepth, depth - from);
    float* packed = scratch(panels * part * kPanel);
    pack(b.from(from, 0), part, n, packed);
    for (int64_t p = 0; p < panels; ++p) {
      const int columns = std::min<int64_t>(kPanel, n - p * kPanel);
      int64_t i = 0;
      for (int64_t s = 0; s < steps; ++s) {
        const int64_t rows = m / steps + (s < m % steps);
        block_of(rows, columns > kVector)(part, a.from(i, from), packed + p * part * kPanel,
                                          c + i * ldc + p * kPanel, ldc, columns, add || from > 0);
        i += rows;
      }
    }
  }
}

// How the threads share a product: by columns, which are packed once, then by rows.
struct Grid {
  int64_t m, n, row_parts, column_parts;
  Grid(int64_t m, int64_t n, int64_t depth) : m(m), n(n) {
    const double work = double(m) * n * depth;
    const int64_t panels = (n + kPanel - 1) / kPanel;
    const int64_t most = Team::get().threads() * 4;
    const int64_t wanted = std::max<int64_t>(1, std::min<int64_t>(most, work / 1e6));
    column_parts = std::max<int64_t>(1, std::min(panels, wanted));
    row_parts = std::max<int64_t>(1, std::min<int64_t>(m / (4 * kRows), wanted / column_parts));
  }
  int64_t tasks() const { return m && n ? row_parts * column_parts : 0; }
  void run(int64_t task, int64_t depth, Matrix a, Matrix b, float* c, bool add) const {
    const int64_t panels = (n + kPanel - 1) / kPanel;
    const int64_t row = task % row_parts, column = task / row_parts;
    const int64_t r0 = m * row / row_parts, r1 = m * (row + 1) / row_parts;
    const int64_t c0 = panels * column / column_parts * kPanel;
    const int64_t c1 = std::min(n, panels * (column + 1) / column_parts * kPanel);
    product(r1 - r0, c1 - c0, depth, a.from(r0, 0), b.from(0, c0), c + r0 * n + c0, n, add);
  }
};
