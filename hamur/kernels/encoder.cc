// One encoder layer over the tokens of every row, and its gradient; the equations are those of
// hamur/layers/encoder.py.
//
// V rows are computed side by side, one in each lane, so that everything is arithmetic of whole vectors,
// softmax and norms too, whatever the sizes.  The gradient computes the layer again: that costs less than
// the memory which would keep it.
#include "common.h"
#include "lanes.h"

namespace {

constexpr int HEADS = 4;
constexpr float EPSILON = 1e-5f;
constexpr int64_t CHUNK = 256;  // rows that are summed by one thread: part of the result, not of the machine

Lanes inverse_root(Lanes x) {
  for (int lane = 0; lane < V; ++lane) x[lane] = 1.0f / std::sqrt(x[lane]);
  return x;
}

enum { PROJECT, PROJECT_BIAS, JOIN, JOIN_BIAS, FIRST_SCALE, FIRST_SHIFT, WIDEN, WIDEN_BIAS, NARROW,
       NARROW_BIAS, SECOND_SCALE, SECOND_SHIFT, PARAMETERS };

struct Sizes {
  int tokens, width, wide, size;  // T, E, of the feed-forward layer, of a head
  int64_t offsets[PARAMETERS + 1];

  explicit Sizes(const Arguments& a) {
    width = a.size(1 + JOIN, 0), wide = a.size(1 + WIDEN, 1), size = width / HEADS;
    tokens = a.size(0, 1) / width;
    offsets[0] = 0;
    for (int i = 0; i < PARAMETERS; ++i) offsets[i + 1] = offsets[i] + a.count(1 + i);
  }
  int64_t numbers() const { return tokens * width; }
  int64_t parameters() const { return offsets[PARAMETERS]; }
};

// The layer for V rows.
struct Layer {
  const Arguments& in;
  const Sizes s;
  const float scale;
  Lanes *free, *x, *projected, *shares, *joined, *first, *middle, *hidden, *second, *roots;
  // Of the gradient only:
  Lanes *d, *dprojected, *dshares, *djoined, *dhidden, *sums;

  static int64_t vectors(const Sizes& s, bool gradient) {
    const int64_t own = 5 * s.numbers() + 3 * s.numbers() + s.tokens * (HEADS * s.tokens + s.wide + 2);
    const int64_t more = 5 * s.numbers() + s.tokens * (s.tokens + s.wide) + s.parameters();
    return own + (gradient ? more : 0);
  }

  Layer(const Arguments& in, const Sizes& s, bool gradient)
      : in(in), s(s), scale(1.0f / std::sqrt(float(s.size))) {
    free = reinterpret_cast<Lanes*>(scratch(vectors(s, gradient) * V));
    x = take(s.width), projected = take(3 * s.width), shares = take(HEADS * s.tokens);
    joined = take(s.width), first = take(s.width), middle = take(s.width), hidden = take(s.wide);
    second = take(s.width), roots = take(2);
    if (!gradient) return;
    d = take(s.width), dprojected = take(3 * s.width), dshares = take(s.tokens);
    djoined = take(s.width), dhidden = take(s.wide), sums = free;
    std::fill_n(sums, s.parameters(), Lanes{});
  }

  Lanes* take(int64_t per_token) {
    Lanes* place = free;
    free += per_token * s.tokens;
    return place;
  }

  const float* parameter(int i) const { return in.in(1 + i); }

  // y = x W + b, or y + x W + b.
  void dense(int matrix, Lanes* x, int depth, Lanes* y, int width, bool add) {
    const float* bias = parameter(matrix + 1);
    for (int t = 0; t < s.tokens; ++t)
      for (int j = 0; j < width; ++j) y[t * width + j] = (add ? y[t * width + j] : Lanes{}) + bias[j];
    add_product(s.tokens, width, depth, rows_of(x, depth), rows_of(parameter(matrix), width),
                rows_of(y, width));
  }

  // x <- (x - mean) / deviation, and out <- that times scale, plus shift.
  void norm(int scale, Lanes* x, Lanes* root, Lanes* out) {
    const float *gamma = parameter(scale), *beta = parameter(scale + 1);
    for (int t = 0; t < s.tokens; ++t, x += s.width, out += s.width) {
      Lanes mean = {}, square = {};
      for (int e = 0; e < s.width; ++e) mean += x[e];
      mean /= float(s.width);
      for (int e = 0; e < s.width; ++e) {
        x[e] -= mean;
        square += x[e] * x[e];
      }
      root[t] = inverse_root(square / float(s.width) + EPSILON);
      for (int e = 0; e < s.width; ++e) {
        x[e] *= root[t];
        out[e] = x[e] * gamma[e] + beta[e];
      }
    }
  }

  View<Lanes> head(Lanes* of, int part, int h) { return {of + part * s.width + h * s.size, 3 * s.width, 1}; }

  void attend(int h) {
    const int n = s.tokens;
    const View<Lanes> own = rows_of(shares + h * n * n, n);
    std::fill_n(own.data, n * n, Lanes{});
    add_product(n, n, s.size, head(projected, 0, h), head(projected, 1, h).transposed(), own);
    for (Lanes* row = own.data; row < own.data + n * n; row += n) {
      Lanes most = row[0], sum = {};
      for (int i = 1; i < n; ++i) most = larger(most, row[i]);
      for (int i = 0; i < n; ++i) sum += row[i] = exp_of_negative((row[i] - most) * scale);
      sum = 1.0f / sum;
      for (int i = 0; i < n; ++i) row[i] *= sum;
    }
    const View<Lanes> out = {joined + h * s.size, s.width, 1};
    add_product(n, s.size, n, own, head(projected, 2, h), out);
  }

  // From x to out, which may be a place of the gradient's.
  void forward(const float* rows, int number, Lanes* out) {
    to_lanes(rows, number, s.numbers(), x);
    dense(PROJECT, x, s.width, projected, 3 * s.width, false);
    std::fill_n(joined, s.numbers(), Lanes{});
    for (int h = 0; h < HEADS; ++h) attend(h);
    std::copy_n(x, s.numbers(), first);
    dense(JOIN, joined, s.width, first, s.width, true);
    norm(FIRST_SCALE, first, roots, middle);
    dense(WIDEN, middle, s.width, hidden, s.wide, false);
    for (int i = 0; i < s.tokens * s.wide; ++i) hidden[i] = larger(hidden[i], Lanes{});
    std::copy_n(middle, s.numbers(), second);
    dense(NARROW, hidden, s.wide, second, s.width, true);
    norm(SECOND_SCALE, second, roots + s.tokens, out);
  }

  // Adds to the sums of W and b, and to dx.
  void dense_gradient(int matrix, Lanes* x, int depth, Lanes* dy, int width, Lanes* dx) {
    add_product(depth, width, s.tokens, rows_of(x, depth).transposed(), rows_of(dy, width),
                rows_of(sums + s.offsets[matrix], width));
    for (int t = 0; t < s.tokens; ++t)
      for (int j = 0; j < width; ++j) sums[s.offsets[matrix + 1] + j] += dy[t * width + j];
    add_product(s.tokens, depth, width, rows_of(dy, width),
                rows_of(parameter(matrix), width).transposed(), rows_of(dx, depth));
  }

  // d from the gradient of the norm's output to that of its input; x as `norm` left it.
  void norm_gradient(int scale, const Lanes* x, const Lanes* root) {
    const float* gamma = parameter(scale);
    Lanes *dgamma = sums + s.offsets[scale], *dbeta = sums + s.offsets[scale + 1], *dy = d;
    for (int t = 0; t < s.tokens; ++t, x += s.width, dy += s.width) {
      Lanes mean = {}, along = {};
      for (int e = 0; e < s.width; ++e) {
        dgamma[e] += dy[e] * x[e];
        dbeta[e] += dy[e];
        dy[e] *= gamma[e];
        mean += dy[e];
        along += dy[e] * x[e];
      }
      mean /= float(s.width), along /= float(s.width);
      for (int e = 0; e < s.width; ++e) dy[e] = root[t] * (dy[e] - mean - x[e] * along);
    }
  }

  void attend_gradient(int h) {
    const int n = s.tokens;
    const View<Lanes> own = rows_of(shares + h * n * n, n), down = rows_of(dshares, n);
    const View<Lanes> dout = {djoined + h * s.size, s.width, 1};
    std::fill_n(dshares, n * n, Lanes{});
    add_product(n, n, s.size, dout, head(projected, 2, h).transposed(), down);
    add_product(n, s.size, n, own.transposed(), dout, head(dprojected, 2, h));
    for (int t = 0; t < n; ++t) {
      Lanes mean = {};
      for (int i = 0; i < n; ++i) mean += own.data[t * n + i] * dshares[t * n + i];
      for (int i = 0; i < n; ++i)
        dshares[t * n + i] = own.data[t * n + i] * (dshares[t * n + i] - mean) * scale;
    }
    add_product(n, s.size, n, down, head(projected, 1, h), head(dprojected, 0, h));
    add_product(n, s.size, n, down.transposed(), head(projected, 0, h), head(dprojected, 1, h));
  }

  void backward(const float* rows, const float* dy, int number, float* dx) {
    forward(rows, number, d);
    to_lanes(dy, number, s.numbers(), d);
    norm_gradient(SECOND_SCALE, second, roots + s.tokens);
    std::fill_n(dhidden, s.tokens * s.wide, Lanes{});
    dense_gradient(NARROW, hidden, s.wide, d, s.width, dhidden);
    for (int i = 0; i < s.tokens * s.wide; ++i) dhidden[i] = hidden[i] > 0.0f ? dhidden[i] : Lanes{};
    dense_gradient(WIDEN, middle, s.width, dhidden, s.wide, d);
    norm_gradient(FIRST_SCALE, first, roots);
    std::fill_n(djoined, s.numbers(), Lanes{});
    dense_gradient(JOIN, joined, s.width, d, s.width, djoined);
    std::fill_n(dprojected, 3 * s.numbers(), Lanes{});
    for (int h = 0; h < HEADS; ++h) attend_gradient(h);
    dense_gradient(PROJECT, x, s.width, dprojected, 3 * s.width, d);
    from_lanes(d, number, s.numbers(), dx);
  }
};

// task(chunk, first row, row after the last) for all chunks.
template <class Task> void by_chunks(int64_t rows, const Task& task) {
  parallel((rows + CHUNK - 1) / CHUNK, [&](int64_t chunk) {
    task(chunk, chunk * CHUNK, std::min(rows, (chunk + 1) * CHUNK));
  });
}

}  // namespace

// x (B, T * E), project (E, 3 E), its bias, join (E, E), bias, scale and shift (E), widen (E, F), bias,
// narrow (F, E), bias, scale, shift -> (B, T * E)
extern "C" int encoder_forward(int, void** data, int* ranks, int64_t** shapes, const char**, void*,
                               void*) {
  const Arguments a{{}, data, shapes, ranks};
  const Sizes s(a);
  by_chunks(a.size(0, 0), [&](int64_t, int64_t from, int64_t to) {
    Layer layer(a, s, false);
    for (int64_t r = from; r < to; r += V) {
      const int rows = std::min<int64_t>(V, to - r);
      layer.forward(a.in(0) + r * s.numbers(), rows, layer.joined);
      from_lanes(layer.joined, rows, s.numbers(), a.out(1 + PARAMETERS) + r * s.numbers());
    }
  });
  return 0;
}

// The same inputs and dy (B, T * E) -> the gradients of all inputs.
extern "C" int encoder_backward(int, void** data, int* ranks, int64_t** shapes, const char**, void*,
                                void*) {
  const Arguments a{{}, data, shapes, ranks};
  const Sizes s(a);
  const int64_t rows = a.size(0, 0), chunks = (rows + CHUNK - 1) / CHUNK, n = s.parameters();
  const float* dy = a.in(1 + PARAMETERS);
  float* dx = a.out(2 + PARAMETERS);
  Floats parts(chunks * n);
  by_chunks(rows, [&](int64_t chunk, int64_t from, int64_t to) {
    Layer layer(a, s, true);
    for (int64_t r = from; r < to; r += V)
      layer.backward(a.in(0) + r * s.numbers(), dy + r * s.numbers(), std::min<int64_t>(V, to - r),
                     dx + r * s.numbers());
    totals(layer.sums, n, &parts[chunk * n]);
  });
  for (int p = 0; p < PARAMETERS; ++p)
    for (int64_t i = s.offsets[p]; i < s.offsets[p + 1]; ++i) {
      double sum = 0.0;
      for (int64_t chunk = 0; chunk < chunks; ++chunk) sum += parts[chunk * n + i];
      a.out(3 + PARAMETERS + p)[i - s.offsets[p]] = sum;
    }
  return 0;
}
