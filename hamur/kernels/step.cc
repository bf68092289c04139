// The ends of a training step: embeddings, loss, update of the weights.
#include "common.h"

// ids (B, F), offsets (1, F) int32, table (V, E) -> rows (B, F, E); an id beyond the table reads zeros
extern "C" int embed_forward(int, void** data, int* ranks, int64_t** shapes, const char**, void*, void*) {
  const Arguments a{{}, data, shapes, ranks};
  const int64_t rows = a.size(1, 0), fields = a.size(1, 1), size = a.size(0, 0), width = a.size(0, 1);
  parallel((rows + kTaskRows - 1) / kTaskRows, [&](int64_t task) {
    const int64_t last = std::min((task + 1) * kTaskRows, rows) * fields;
    for (int64_t i = task * kTaskRows * fields; i < last; ++i) {
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
  const Arguments a{{}, data, shapes, ranks};
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
  const Arguments a{{}, data, shapes, ranks};
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
  const Arguments a{{}, data, shapes, ranks};
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
