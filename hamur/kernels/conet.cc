// Value and gradient of CoNet's weighted loss, layer by layer over blocks of rows; see
// hamur/layers/cross_connection.py.  Layer: z_s = x_s W_s + x_t H, z_t = x_t W_t + x_s H, and
// activation z > 0 ? z : slope z.
#include "vectors.h"

namespace {

constexpr int BLOCK = 4;            // rows whose sums stay in registers together
constexpr int TWO_THREADS = 128;    // rows from which on a second thread pays
constexpr int CHUNK = 64;           // rows whose states stay in a processor's cache

// c (rows, n) += a (rows, k) b (k, n); n whole vectors; rows of a and c are `lda`, `ldc` long.
void add_product(int rows, int k, int n, const float* a, int lda, const float* b, float* c,
                 int ldc) {
  int r = 0;
  for (; r + BLOCK <= rows; r += BLOCK)
    for (int at = 0; at < n; at += V) {
      Vec y[BLOCK];
      for (int i = 0; i < BLOCK; ++i) y[i] = load(c + (r + i) * ldc + at);
      for (int p = 0; p < k; ++p) {
        Vec w = load(b + p * n + at);
        for (int i = 0; i < BLOCK; ++i) y[i] += a[(r + i) * lda + p] * w;
      }
      for (int i = 0; i < BLOCK; ++i) store(c + (r + i) * ldc + at, y[i]);
    }
  for (; r < rows; ++r)
    for (int at = 0; at < n; at += V) {
      Vec y = load(c + r * ldc + at);
      for (int p = 0; p < k; ++p) y += a[r * lda + p] * load(b + p * n + at);
      store(c + r * ldc + at, y);
    }
}

// c (k, n) += a' b of a (rows, k), b (rows, n)
void add_outer(int rows, int k, int n, const float* a, int lda, const float* b, int ldb, float* c) {
  int p = 0;
  for (; p + BLOCK <= k; p += BLOCK)
    for (int at = 0; at < n; at += V) {
      Vec y[BLOCK];
      for (int i = 0; i < BLOCK; ++i) y[i] = load(c + (p + i) * n + at);
      for (int r = 0; r < rows; ++r) {
        Vec g = load(b + r * ldb + at);
        for (int i = 0; i < BLOCK; ++i) y[i] += a[r * lda + p + i] * g;
      }
      for (int i = 0; i < BLOCK; ++i) store(c + (p + i) * n + at, y[i]);
    }
  for (; p < k; ++p)
    for (int at = 0; at < n; at += V) {
      Vec y = load(c + p * n + at);
      for (int r = 0; r < rows; ++r) y += a[r * lda + p] * load(b + r * ldb + at);
      store(c + p * n + at, y);
    }
}

// The three matrices of a layer, their columns filled up to whole vectors, and transposed.
struct Layer {
  int in, out, n, k;  // n, k: out and in in whole vectors
  Floats w[3], wt[3];  // W_s, W_t, H

  Layer(int in, int out, const float* own, const float* shared)
      : in(in), out(out), n(whole_vectors(out)), k(whole_vectors(in)) {
    const float* from[3] = {own, own + in * out, shared};
    for (int m = 0; m < 3; ++m) {
      w[m].assign(in * n, 0.0f), wt[m].assign(out * k, 0.0f);
      for (int p = 0; p < in; ++p)
        for (int d = 0; d < out; ++d)
          w[m][p * n + d] = wt[m][d * k + p] = from[m][p * out + d];
    }
  }
};

struct Inputs {
  int rows, dim, layers, last;
  const float *table, *mask, *labels, *weights, *head, *bias;
  const int32_t* ids;
  float slope;
  std::vector<Layer> layer;

  // table, ids, mask; from `first` on the matrices of the layers
  Inputs(void** p, int64_t** shapes, int layers, int first)
      : rows(shapes[1][1]), dim(shapes[0][1]), layers(layers), table((float*)p[0]),
        mask((float*)p[2]), ids((int32_t*)p[1]) {
    for (int at = first; at < first + 2 * layers; at += 2)
      layer.emplace_back(shapes[at + 1][0], shapes[at + 1][1], (float*)p[at], (float*)p[at + 1]);
    last = layer.back().out;
  }
};

// Sums of one thread.
struct Sums {
  double whole = 0.0, target = 0.0;
  Floats head, bias;
  std::vector<Floats> cross;  // as Layer::w, one after the other

  explicit Sums(const Inputs& in) : head(2 * in.last), bias(2) {
    for (const Layer& each : in.layer)
      for (int m = 0; m < 3; ++m) cross.emplace_back(each.in * each.n);
  }
};

typedef std::vector<Floats> States[2];  // of both towers before every layer, and after the last

void forward(const Inputs& in, int begin, int end, States& x) {
  const int rows = end - begin, width = 3 * in.dim;
  for (int tower = 0; tower < 2; ++tower) {
    x[tower].emplace_back(rows * whole_vectors(width));
    for (int r = 0; r < rows; ++r)
      for (int field = 0; field < 3; ++field) {
        const int64_t at = (int64_t(tower) * in.rows + begin + r) * 3 + field;
        const float* from = in.table + int64_t(in.ids[at]) * in.dim;
        float* to = &x[tower][0][r * whole_vectors(width) + field * in.dim];
        for (int d = 0; d < in.dim; ++d) to[d] = from[d] * in.mask[at];
      }
  }
  for (const Layer& each : in.layer) {
    const int before = x[0].size() - 1;
    for (int tower = 0; tower < 2; ++tower) x[tower].emplace_back(rows * each.n);
    for (int tower = 0; tower < 2; ++tower) {
      float* z = x[tower].back().data();
      add_product(rows, each.in, each.n, x[tower][before].data(), each.k, each.w[tower].data(), z,
                  each.n);
      add_product(rows, each.in, each.n, x[1 - tower][before].data(), each.k, each.w[2].data(), z,
                  each.n);
      for (int i = 0; i < rows * each.n; i += V) {
        Vec y = load(z + i);
        store(z + i, y > 0.0f ? y : y * in.slope);
      }
    }
  }
}

void gradient(const Inputs& in, int begin, int end, Sums& sums, float* of_rows) {
  const int rows = end - begin, width = 3 * in.dim;
  States x;
  forward(in, begin, end, x);
  const int n = in.layer.back().n;
  Floats g[2];
  for (int tower = 0; tower < 2; ++tower) {
    g[tower].assign(rows * n, 0.0f);
    for (int r = 0; r < rows; ++r) {
      const float* last = &x[tower].back()[r * n];
      float z = in.bias[tower];
      for (int d = 0; d < in.last; ++d) z += last[d] * in.head[tower * in.last + d];
      const int at = tower * in.rows + begin + r;
      const float label = in.labels[at], weight = in.weights[at];
      const float tail = std::exp(-std::fabs(z));
      const double loss = double(weight) * (std::max(z, 0.0f) + std::log1p(tail) - z * label);
      sums.whole += loss;
      if (tower == 1) sums.target += loss;
      const float p = (z > 0.0f ? 1.0f : tail) / (1.0f + tail);
      const float by_logit = weight * (p - label);
      sums.bias[tower] += by_logit;
      for (int d = 0; d < in.last; ++d) {
        sums.head[tower * in.last + d] += by_logit * last[d];
        g[tower][r * n + d] = by_logit * in.head[tower * in.last + d];
      }
    }
  }
  for (int l = in.layers - 1; l >= 0; --l) {
    const Layer& each = in.layer[l];
    Floats next[2];
    for (int tower = 0; tower < 2; ++tower) {
      const float* y = x[tower][l + 1].data();
      for (int i = 0; i < rows * each.n; i += V) {
        Vec own = load(&g[tower][i]);
        store(&g[tower][i], load(y + i) > 0.0f ? own : own * in.slope);
      }
      next[tower].assign(rows * each.k, 0.0f);
    }
    for (int tower = 0; tower < 2; ++tower) {
      const float* own = g[tower].data();
      add_outer(rows, each.in, each.n, x[tower][l].data(), each.k, own, each.n,
                sums.cross[3 * l + tower].data());
      add_outer(rows, each.in, each.n, x[1 - tower][l].data(), each.k, own, each.n,
                sums.cross[3 * l + 2].data());
      add_product(rows, each.out, each.k, own, each.n, each.wt[tower].data(), next[tower].data(),
                  each.k);
      add_product(rows, each.out, each.k, own, each.n, each.wt[2].data(), next[1 - tower].data(),
                  each.k);
    }
    g[0].swap(next[0]), g[1].swap(next[1]);
  }
  for (int tower = 0; tower < 2; ++tower)
    for (int r = 0; r < rows; ++r)
      for (int field = 0; field < 3; ++field) {
        const int64_t at = (int64_t(tower) * in.rows + begin + r) * 3 + field;
        const float* from = &g[tower][r * whole_vectors(width) + field * in.dim];
        for (int d = 0; d < in.dim; ++d) of_rows[at * in.dim + d] = from[d] * in.mask[at];
      }
}

}  // namespace

// table (R, E), ids (2, B, 3) int32, mask (2, B, 3, 1), labels (2, B), weights (2, B), slope (1,),
// head weight (2, H, 1) and bias (2, 1, 1), private (2, in, out) and shared (in, out) of every
// layer -> the sum of weights x cross entropy and its target part, each (1,); gradients of every
// row's own copy of its embeddings (2, B, 3, E), of the head and of the layers, shapes as above.
extern "C" int ConetGradient(int count, void** p, int*, int64_t** shapes, const char**, void*,
                             void*) {
  const NoDenormals mode;
  const int layers = (count - 13) / 4;  // 8 + 2 layers inputs, 5 + 2 layers outputs
  Inputs in(p, shapes, layers, 8);
  in.labels = (float*)p[3], in.weights = (float*)p[4], in.slope = *(float*)p[5];
  in.head = (float*)p[6], in.bias = (float*)p[7];
  void** out = p + 8 + 2 * layers;
  float *of_rows = (float*)out[2], *of_head = (float*)out[3], *of_bias = (float*)out[4];
  Sums sums[2] = {Sums(in), Sums(in)};
  if (in.rows < TWO_THREADS)
    gradient(in, 0, in.rows, sums[0], of_rows);
  else
    in_two(in.rows / 2, in.rows, [&](int half, int begin, int end) {
      gradient(in, begin, end, sums[half], of_rows);
    });
  *(float*)out[0] = sums[0].whole + sums[1].whole;
  *(float*)out[1] = sums[0].target + sums[1].target;
  for (int i = 0; i < 2 * in.last; ++i) of_head[i] = sums[0].head[i] + sums[1].head[i];
  for (int i = 0; i < 2; ++i) of_bias[i] = sums[0].bias[i] + sums[1].bias[i];
  for (int l = 0; l < layers; ++l) {
    const Layer& each = in.layer[l];
    for (int m = 0; m < 3; ++m) {
      const Floats &a = sums[0].cross[3 * l + m], &b = sums[1].cross[3 * l + m];
      float* to = (float*)out[5 + 2 * l + (m == 2)] + (m == 1) * each.in * each.out;
      for (int i = 0; i < each.in; ++i)
        for (int d = 0; d < each.out; ++d)
          to[i * each.out + d] = a[i * each.n + d] + b[i * each.n + d];
    }
  }
  return 0;
}

// table, ids, mask, slope, private and shared of every layer -> last state of the target (B, H).
extern "C" int ConetFeatures(int count, void** p, int*, int64_t** shapes, const char**, void*,
                             void*) {
  const NoDenormals mode;
  Inputs in(p, shapes, (count - 5) / 2, 4);
  in.slope = *(float*)p[3];
  float* out = (float*)p[count - 1];
  parallel((in.rows + CHUNK - 1) / CHUNK, [&](int64_t chunk) {
    const int begin = chunk * CHUNK, end = std::min(in.rows, begin + CHUNK);
    States x;
    forward(in, begin, end, x);
    for (int r = begin; r < end; ++r)
      std::copy_n(&x[1].back()[(r - begin) * in.layer.back().n], in.last, out + r * in.last);
  });
  return 0;
}
