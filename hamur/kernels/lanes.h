// Rows side by side, one in each lane of a vector: products whose every sum is in one lane, and the way from
// rows to lanes and back.
#pragma once
#include "vectors.h"

namespace {

typedef float Lanes __attribute__((vector_size(4 * V)));  // at whole vectors, other than Vec
constexpr int SIDE = 4;  // sums of a SIDE x SIDE block stay in registers

template <class T> struct View {  // element (i, j) at data[i * row + j * column]
  T* data;
  int64_t row, column;
  View from(int64_t i, int64_t j) const { return {data + i * row + j * column, row, column}; }
  View transposed() const { return {data, column, row}; }
};

template <class T> View<T> rows_of(T* data, int64_t width) { return {data, width, 1}; }

template <int M, int N, class B> void add_block(int depth, View<Lanes> a, View<B> b, View<Lanes> y) {
  Lanes sum[M][N];
  for (int i = 0; i < M; ++i)
    for (int j = 0; j < N; ++j) sum[i][j] = y.data[i * y.row + j * y.column];
  for (int p = 0; p < depth; ++p) {
    Lanes own[M];
    for (int i = 0; i < M; ++i) own[i] = a.data[i * a.row + p * a.column];
    for (int j = 0; j < N; ++j) {
      const B other = b.data[p * b.row + j * b.column];
      for (int i = 0; i < M; ++i) sum[i][j] += own[i] * other;
    }
  }
  for (int i = 0; i < M; ++i)
    for (int j = 0; j < N; ++j) y.data[i * y.row + j * y.column] = sum[i][j];
}

template <int M, class B> void add_strip(int n, int depth, View<Lanes> a, View<B> b, View<Lanes> y) {
  int j = 0;
  for (; j + SIDE <= n; j += SIDE) add_block<M, SIDE>(depth, a, b.from(0, j), y.from(0, j));
  for (; j < n; ++j) add_block<M, 1>(depth, a, b.from(0, j), y.from(0, j));
}

// y (m, n) += a (m, depth) b (depth, n); b of numbers that all lanes share, or of vectors.
template <class B> void add_product(int m, int n, int depth, View<Lanes> a, View<B> b, View<Lanes> y) {
  int i = 0;
  for (; i + SIDE <= m; i += SIDE) add_strip<SIDE>(n, depth, a.from(i, 0), b, y.from(i, 0));
  for (; i < m; ++i) add_strip<1>(n, depth, a.from(i, 0), b, y.from(i, 0));
}

inline Lanes shuffle(Lanes a, Lanes b, Int from) {
#if defined(__clang__)
  Lanes y;
  for (int c = 0; c < V; ++c) y[c] = from[c] < V ? a[from[c]] : b[from[c] - V];
  return y;
#else
  return __builtin_shuffle(a, b, from);
#endif
}

template <int S> void exchange(Lanes* tile) {  // blocks of S x S across the diagonal
  Int low = {}, high = {};
  for (int c = 0; c < V; ++c) {
    low[c] = c & S ? V + c - S : c;
    high[c] = c & S ? V + c : c + S;
  }
  for (int i = 0; i < V; ++i)
    if (!(i & S)) {
      const Lanes a = tile[i], b = tile[i + S];
      tile[i] = shuffle(a, b, low), tile[i + S] = shuffle(a, b, high);
    }
}

void transpose(Lanes* tile) { exchange<8>(tile), exchange<4>(tile), exchange<2>(tile), exchange<1>(tile); }

// Up to V rows of numbers -> a vector per column; lanes without a row are 0.
void to_lanes(const float* x, int rows, int width, Lanes* out) {
  for (int c = 0; c < width; c += V) {
    const int n = std::min(V, width - c);
    Lanes tile[V] = {};
    for (int lane = 0; lane < rows; ++lane) std::memcpy(&tile[lane], x + lane * width + c, n * 4);
    transpose(tile);
    std::copy_n(tile, n, out + c);
  }
}

void from_lanes(const Lanes* x, int rows, int width, float* out) {
  for (int c = 0; c < width; c += V) {
    const int n = std::min(V, width - c);
    Lanes tile[V] = {};
    std::copy_n(x + c, n, tile);
    transpose(tile);
    for (int lane = 0; lane < rows; ++lane) std::memcpy(out + lane * width + c, &tile[lane], n * 4);
  }
}

// The total of every vector.
void totals(const Lanes* x, int number, float* out) {
  for (int c = 0; c < number; c += V) {
    const int n = std::min(V, number - c);
    Lanes tile[V] = {}, sum = {};
    std::copy_n(x + c, n, tile);
    transpose(tile);
    for (const Lanes& row : tile) sum += row;
    std::memcpy(out + c, &sum, n * 4);
  }
}

}  // namespace
