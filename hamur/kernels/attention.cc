// Pooled self-attention over ragged histories, and its gradient by the weights; see
// hamur/layers/importance.py, `pooled_attention`, whose numbers these are up to rounding.
//
// One history is n rows x_i = [item | category] of the table.  For every head, s = 1 / sqrt(E):
//
//   q_i = x_i Wq + c Wq',  k_j = x_j Wk,  a_i = softmax_j(s q_i k_j),  p_j = sum_i a_ij / n
//   value = (sum_j p_j x_j) Wv + c Wv'           m = [value of every head] Wo
//
// Logits are computed for V queries at a time, one key after the other.
#include "vectors.h"

namespace {

constexpr int HEADS = 4;

struct Sizes {
  int rows, dim, width, padded;  // B, E, 2E, E up to whole vectors
  int64_t longest;               // up to whole vectors
};

struct Inputs {
  const float *table, *candidate, *query, *key_value, *output;
  const int32_t *history, *spans;
};

// y (n,) = x (k,) w (k, n), or added to y; n whole vectors, of which NEXT are summed together.
template <int NEXT = 4>
inline void product(int k, int n, const float* x, const float* w, float* y, bool add = false) {
  int at = 0;
  for (; at + NEXT * V <= n; at += NEXT * V) {
    Vec sum[NEXT];
    for (int i = 0; i < NEXT; ++i) sum[i] = add ? load(y + at + i * V) : Vec{};
    for (int p = 0; p < k; ++p)
      for (int i = 0; i < NEXT; ++i) sum[i] += x[p] * load(w + p * n + at + i * V);
    for (int i = 0; i < NEXT; ++i) store(y + at + i * V, sum[i]);
  }
  if constexpr (NEXT > 1)
    for (; at < n; at += V) {
      Vec sum = add ? load(y + at) : Vec{};
      for (int p = 0; p < k; ++p) sum += x[p] * load(w + p * n + at);
      store(y + at, sum);
    }
}

// Space of one thread, and the steps for one history.
struct History {
  const Sizes& s;
  const Inputs& in;
  int n = 0, blocks = 0;
  const float *wq, *wkv, *wo, *c, *values, *last;
  Floats x, xt, k, qt, cq, logits, pooled, value;
  const int four, wide, flat;  // 4E, and in whole vectors for every head, for all
  Floats by_lane;  // (L, V) p_j, the part of every lane
  Floats below, wk, wv, padded_output;  // of both sides: candidate's queries, keys, values, output

  History(const Sizes& sizes, const Inputs& inputs)
      : s(sizes), in(inputs), four(HEADS * s.dim), wide(HEADS * s.padded),
        flat(whole_vectors(four)) {
    const int64_t L = s.longest, both = 2 * s.width;
    x.resize(L * s.width), xt.resize(L * s.width), k.resize(L * wide), qt.resize(four * L);
    logits.resize(L * V), by_lane.resize(L * V), pooled.resize(HEADS * s.width);
    cq.resize(flat), value.resize(wide);
    below.assign(2 * s.width * flat, 0.0f), wk.assign(2 * s.width * wide, 0.0f);
    wv.assign(2 * both * wide, 0.0f), padded_output.assign(2 * four * flat, 0.0f);
    for (int side = 0; side < 2; ++side) {
      for (int p = 0; p < both; ++p)
        for (int h = 0; h < HEADS; ++h) {
          const float* from = in.key_value + (side * both + p) * 2 * four + h * s.dim;
          if (p < s.width)
            std::copy_n(from, s.dim, &wk[(side * s.width + p) * wide + h * s.padded]);
          std::copy_n(from + four, s.dim, &wv[(side * both + p) * wide + h * s.padded]);
        }
      for (int p = 0; p < s.width; ++p)
        std::copy_n(in.query + (side * both + s.width + p) * four, four,
                    &below[(side * s.width + p) * flat]);
      for (int d = 0; d < four; ++d)
        std::copy_n(in.output + (side * four + d) * four, four,
                    &padded_output[(side * four + d) * flat]);
    }
  }

  void open(int side, int row) {
    const int32_t* span = in.spans + 2 * (side * s.rows + row);
    n = span[1], blocks = (n + V - 1) / V;
    wq = in.query + side * 2 * s.width * four;
    wkv = in.key_value + side * 2 * s.width * 2 * four;
    wo = in.output + side * four * four;
    c = in.candidate + row * s.width;
    for (int i = 0; i < n; ++i)
      for (int part = 0; part < 2; ++part) {
        const float* from = in.table + int64_t(in.history[2 * (span[0] + i) + part]) * s.dim;
        for (int d = 0, p = part * s.dim; d < s.dim; ++d, ++p)
          x[i * s.width + p] = xt[p * s.longest + i] = from[d];
      }
    for (int p = 0; p < s.width; ++p)
      for (int i = n; i < blocks * V; ++i) xt[p * s.longest + i] = 0.0f;
    const float scale = 1.0f / std::sqrt(float(s.dim));
    product(s.width, flat, c, &below[side * s.width * flat], cq.data());
    for (int d = 0; d < four; d += HEADS)  // queries, already scaled
      for (int b = 0; b < blocks; ++b) {
        Vec y[HEADS];
        for (int i = 0; i < HEADS; ++i) y[i] = all(cq[d + i]);
        for (int p = 0; p < s.width; ++p) {
          Vec own = load(&xt[p * s.longest + b * V]);
          for (int i = 0; i < HEADS; ++i) y[i] += own * wq[p * four + d + i];
        }
        for (int i = 0; i < HEADS; ++i) store(&qt[(d + i) * s.longest + b * V], y[i] * scale);
      }
    for (int j = 0; j < n; ++j)
      product(s.width, wide, &x[j * s.width], &wk[side * s.width * wide], &k[j * wide]);
    values = &wv[side * 2 * s.width * wide];
    last = &padded_output[side * four * flat];
  }

  // Softmax of V queries over all keys: logits become e^(logit - largest); 1 / sum by lane.
  template <int E> Vec softmax(int head, int block) {
    const int dim = E ? E : s.dim;
    const float* key = &k[head * s.padded];
    const float* q = &qt[head * dim * s.longest + block * V];
    Vec most = all(-3e38f), sum = {};
    if (E) {
      Vec own[E ? E : 1];
      for (int d = 0; d < E; ++d) own[d] = load(q + d * s.longest);
      for (int j = 0; j < n; ++j) {
        Vec z = {};
        for (int d = 0; d < E; ++d) z += own[d] * key[j * wide + d];
        store(&logits[j * V], z);
        most = larger(most, z);
      }
    } else {
      for (int j = 0; j < n; ++j) {
        Vec z = {};
        for (int d = 0; d < dim; ++d) z += load(q + d * s.longest) * key[j * wide + d];
        store(&logits[j * V], z);
        most = larger(most, z);
      }
    }
    for (int j = 0; j < n; ++j) {
      Vec e = exp_of_negative(load(&logits[j * V]) - most);
      store(&logits[j * V], e);
      sum += e;
    }
    Vec inverse = all(1.0f) / sum;
    for (int lane = std::max(0, n - block * V); lane < V; ++lane) inverse[lane] = 0.0f;
    return inverse;
  }

  Vec weights(int head, int block) {  // 10 is the published dimension
    return s.dim == 10 ? softmax<10>(head, block) : softmax<0>(head, block);
  }

  // pooled rows (HEADS, 2E) and values (HEADS, E); both 0 of an empty history.
  void forward() {
    std::fill(pooled.begin(), pooled.end(), 0.0f);
    std::fill(value.begin(), value.end(), 0.0f);
    if (!n) return;
    for (int h = 0; h < HEADS; ++h) {
      std::fill_n(by_lane.begin(), n * V, 0.0f);
      for (int b = 0; b < blocks; ++b) {
        Vec scale = weights(h, b) * all(1.0f / n);
        for (int j = 0; j < n * V; j += V)
          store(&by_lane[j], load(&by_lane[j]) + load(&logits[j]) * scale);
      }
      float* out = &pooled[h * s.width];
      for (int j = 0; j < n; ++j) {
        float sum = total(load(&by_lane[j * V]));
        for (int p = 0; p < s.width; ++p) out[p] += sum * x[j * s.width + p];
      }
      for (int at = h * s.padded; at < (h + 1) * s.padded; at += V) {
        Vec sum = {};
        for (int p = 0; p < s.width; ++p)
          sum += out[p] * load(values + p * wide + at) +
                 c[p] * load(values + (s.width + p) * wide + at);
        store(&value[at], sum);
      }
    }
  }

  void result(int side, int row, float* m) {
    open(side, row);
    forward();
    for (int at = 0; at < flat; at += V) {
      Vec sum = {};
      for (int h = 0; h < HEADS; ++h)
        for (int d = 0; d < s.dim; ++d)
          sum += value[h * s.padded + d] * load(last + (h * s.dim + d) * flat + at);
      std::copy_n((const float*)&sum, std::min(V, four - at), m + at);
    }
  }
};

// What one thread adds up, heads apart by `padded` numbers where rows are read as vectors.
struct Gradients {
  Floats query, key, value, output;

  explicit Gradients(const Sizes& s) {
    const size_t wide = HEADS * s.padded, four = HEADS * s.dim;
    query.assign(2 * 2 * s.width * wide, 0.0f), key.assign(2 * s.width * wide, 0.0f);
    value.assign(2 * 2 * s.width * four, 0.0f), output.assign(2 * four * four, 0.0f);
  }
};

// The gradient by the weights of <m, g> of one history.
struct Backward : History {
  Floats rows, dq, dk, dvalue, u, target;
  Gradients& sum;

  Backward(const Sizes& sizes, const Inputs& inputs, Gradients& into)
      : History(sizes, inputs), sum(into) {
    rows.assign(s.longest * wide, 0.0f), dq.resize(s.longest * wide), dk.resize(s.longest * wide);
    dvalue.resize(HEADS * s.dim), u.resize(s.width), target.resize(s.longest);
  }

  void add(int side, const float* g) {
    float* of_output = &sum.output[side * four * four];
    for (int d = 0; d < four; ++d) {
      float along = 0.0f;
      const float own = value[d / s.dim * s.padded + d % s.dim];
      for (int e = 0; e < four; ++e) {
        of_output[d * four + e] += own * g[e];
        along += wo[d * four + e] * g[e];
      }
      dvalue[d] = along;
    }
    float* of_value = &sum.value[side * 2 * s.width * four];
    for (int p = 0; p < s.width; ++p)
      for (int h = 0; h < HEADS; ++h)
        for (int d = h * s.dim; d < (h + 1) * s.dim; ++d) {
          of_value[p * four + d] += pooled[h * s.width + p] * dvalue[d];
          of_value[(s.width + p) * four + d] += c[p] * dvalue[d];
        }
    std::fill(dk.begin(), dk.begin() + n * wide, 0.0f);
    std::fill(dq.begin(), dq.begin() + blocks * V * wide, 0.0f);
    for (int d = 0; d < four; ++d)
      for (int i = 0; i < blocks * V; ++i)
        rows[i * wide + d / s.dim * s.padded + d % s.dim] = qt[d * s.longest + i];
    for (int h = 0; h < HEADS; ++h) head(h);
    float* of_query = &sum.query[side * 2 * s.width * wide];
    float* of_key = &sum.key[side * s.width * wide];
    for (int at = 0; at < wide; at += V) {
      Vec whole = {};
      for (int i = 0; i < n; ++i) whole += load(&dq[i * wide + at]);
      for (int p = 0; p < s.width; ++p) {
        Vec a = {}, b = {};
        for (int i = 0; i < n; ++i) {
          a += x[i * s.width + p] * load(&dq[i * wide + at]);
          b += x[i * s.width + p] * load(&dk[i * wide + at]);
        }
        float *to_q = of_query + p * wide + at, *to_k = of_key + p * wide + at;
        float* below = to_q + s.width * wide;
        store(to_q, load(to_q) + a), store(to_k, load(to_k) + b);
        store(below, load(below) + c[p] * whole);
      }
    }
  }

  // dq and dk of one head.  da_ij = t_j = x_j u / n for every query, u = Wv dvalue, so that
  // dlogit_ij = a_ij (t_j - sum_k a_ik t_k).
  void head(int h) {
    for (int p = 0; p < s.width; ++p) {
      u[p] = 0.0f;
      for (int d = h * s.dim; d < (h + 1) * s.dim; ++d)
        u[p] += wkv[p * 2 * four + four + d] * dvalue[d];
    }
    for (int j = 0; j < n; ++j) {
      float along = 0.0f;
      for (int p = 0; p < s.width; ++p) along += x[j * s.width + p] * u[p];
      target[j] = along / n;
    }
    for (int b = 0; b < blocks; ++b) {
      Vec inverse = weights(h, b), mean = {};
      for (int j = 0; j < n; ++j) {
        Vec a = load(&logits[j * V]) * inverse;
        store(&logits[j * V], a);
        mean += a * target[j];
      }
      for (int j = 0; j < n; ++j)
        store(&logits[j * V], load(&logits[j * V]) * (target[j] - mean));
      for (int d = 0; d < s.dim; ++d) {
        Vec y = {};
        for (int j = 0; j < n; ++j) y += load(&logits[j * V]) * k[j * wide + h * s.padded + d];
        for (int lane = 0; lane < V; ++lane) dq[(b * V + lane) * wide + h * s.padded + d] = y[lane];
      }
      for (int at = h * s.padded; at < (h + 1) * s.padded; at += V)
        for (int j = 0; j < n; ++j) {
          Vec y = load(&dk[j * wide + at]);
          for (int lane = 0; lane < V; ++lane)
            y += logits[j * V + lane] * load(&rows[(b * V + lane) * wide + at]);
          store(&dk[j * wide + at], y);
        }
    }
  }
};

struct Call {
  Sizes s;
  Inputs in;
  int middle;  // rows before it and from it on cost about the same

  // table, rows, spans; candidate; query, key_value, output
  Call(void** p, const float* candidate, void** weights, int64_t** shapes) {
    in = {(float*)p[0], candidate, (float*)weights[0], (float*)weights[1], (float*)weights[2],
          (int32_t*)p[1], (int32_t*)p[2]};
    s.rows = shapes[2][1], s.dim = shapes[0][1], s.width = 2 * s.dim;
    s.padded = whole_vectors(s.dim);
    std::vector<double> cost(s.rows + 1, 0.0);
    int longest = 1;
    for (int r = 0; r < s.rows; ++r) {
      cost[r + 1] = cost[r];
      for (int side = 0; side < 2; ++side) {
        int n = in.spans[2 * (side * s.rows + r) + 1];
        longest = std::max(longest, n);
        cost[r + 1] += 4.0 + n * (4.0 + (n + V - 1) / V);
      }
    }
    s.longest = whole_vectors(longest);
    middle = std::lower_bound(cost.begin(), cost.end(), cost.back() / 2) - cost.begin();
    middle = std::min(middle, s.rows);
  }

};

}  // namespace

// table (R, E), rows (M, 2) int32 of the table, spans (2, B, 2) int32 first position and length,
// candidate (B, 2E), query (2, 4E, 4E), key_value (2, 4E, 8E), output (2, 4E, 4E) -> (B, 8E).
extern "C" int Attention(int, void** p, int*, int64_t** shapes, const char**, void*, void*) {
  const NoDenormals mode;
  Call call(p, (float*)p[3], p + 4, shapes);
  float* out = (float*)p[7];
  in_two(call.middle, call.s.rows, [&](int, int begin, int end) {
    History one(call.s, call.in);
    const int four = HEADS * call.s.dim;
    for (int row = begin; row < end; ++row)
      for (int side = 0; side < 2; ++side) {
        one.result(side, row, out + (2 * row + side) * four);
      }
  });
  return 0;
}

// The same inputs and the gradient (B, 8E) by the result -> those by query, key_value and output.
extern "C" int AttentionGradient(int, void** p, int*, int64_t** shapes, const char**, void*,
                                 void*) {
  const NoDenormals mode;
  Call call(p, (float*)p[3], p + 4, shapes);
  const float* g = (float*)p[7];
  const Sizes& s = call.s;
  Gradients of[2] = {Gradients(s), Gradients(s)};
  in_two(call.middle, call.s.rows, [&](int half, int begin, int end) {
    Backward one(call.s, call.in, of[half]);
    for (int row = begin; row < end; ++row)
      for (int side = 0; side < 2; ++side) {
        one.open(side, row);
        if (!one.n) continue;
        one.forward();
        one.add(side, g + (2 * row + side) * HEADS * s.dim);
      }
  });
  float *query = (float*)p[8], *key_value = (float*)p[9], *output = (float*)p[10];
  const int four = HEADS * s.dim, wide = HEADS * s.padded;
  const float scale = 1.0f / std::sqrt(float(s.dim));
  auto both = [&](const Floats Gradients::*part, int64_t at) {
    return (of[0].*part)[at] + (of[1].*part)[at];
  };
  for (int side = 0; side < 2; ++side)
    for (int p = 0; p < 2 * s.width; ++p)
      for (int d = 0; d < four; ++d) {
        const int64_t row = side * 2 * s.width + p, place = d / s.dim * s.padded + d % s.dim;
        query[row * four + d] = scale * both(&Gradients::query, row * wide + place);
        key_value[row * 2 * four + d] =
            p < s.width ? both(&Gradients::key, (side * s.width + p) * wide + place) : 0.0f;
        key_value[row * 2 * four + four + d] = both(&Gradients::value, row * four + d);
      }
  for (int i = 0; i < 2 * four * four; ++i) output[i] = both(&Gradients::output, i);
  return 0;
}

namespace {

// y (out,) = relu or not of x (in,) weight (in, out) + bias
void dense(int in, int out, const float* x, const void* weight, const void* bias, float* y,
           bool relu) {
  const float* w = (const float*)weight;
  std::copy_n((const float*)bias, out, y);
  if (out % V == 0)
    product(in, out, x, w, y, true);
  else
    for (int p = 0; p < in; ++p)
      for (int d = 0; d < out; ++d) y[d] += x[p] * w[p * out + d];
  for (int d = 0; relu && d < out; ++d) y[d] = std::max(y[d], 0.0f);
}

float sigmoid(float x) { return 1.0f / (1.0f + std::exp(-x)); }

}  // namespace

// table, rows, spans as above; ids (2, B, 3), mask (2, B, 3, 1), category, has_source, row_weight
// (B,); form (4,): gate as 2 sigmoid, bias of categories, PRIORS of `Importance`, factor of the
// source's weights; the tensors of phi -> g (B,) and weights (2, B); see `Importance`, "sigmoid".
extern "C" int BehaviourWeights(int, void** p, int*, int64_t** shapes, const char**, void*, void*) {
  const NoDenormals mode;
  const int32_t *ids = (int32_t*)p[3], *category = (int32_t*)p[5];
  const float *table = (float*)p[0], *mask = (float*)p[4], *effect = (float*)p[6];
  const float *share = (float*)p[7], *form = (float*)p[8];
  void** phi = p + 9;
  float *out_g = (float*)p[22], *weights = (float*)p[23];
  const int batch = shapes[3][1], dim = shapes[0][1], width = 2 * dim, eight = 8 * dim;
  Floats candidate(batch * width);
  for (int row = 0; row < batch; ++row)
    for (int i = 0; i < width; ++i) {
      const int at = row * 3 + 1 + i / dim;
      candidate[row * width + i] = table[int64_t(ids[at]) * dim + i % dim] * mask[at];
    }
  Call call(p, candidate.data(), phi, shapes);
  const int first = shapes[9 + 3][1], second = shapes[9 + 5][1];
  const float rho = *(float*)phi[12];
  const float softplus = std::max(rho, 0.0f) + std::log1p(std::exp(-std::fabs(rho)));
  const float priors[3] = {1.0f, softplus / float(M_LN2), std::max(rho, 0.0f)};
  const float prior = priors[int(form[2])];
  in_two(call.middle, batch, [&](int, int begin, int end) {
    History one(call.s, call.in);
    Floats m(eight), x(first), y(second);
    for (int row = begin; row < end; ++row) {
      for (int side = 0; side < 2; ++side) one.result(side, row, &m[side * HEADS * dim]);
      float gate, g;
      dense(eight, first, m.data(), phi[3], phi[4], x.data(), true);
      dense(first, second, x.data(), phi[5], phi[6], y.data(), true);
      dense(second, 1, y.data(), phi[7], phi[8], &gate, false);
      dense(width, 1, &candidate[row * width], phi[9], phi[10], &g, false);
      if (form[1] > 0.0f) g += ((float*)phi[11])[category[row]];
      g *= form[0] > 0.0f ? 2.0f * sigmoid(gate) : gate;
      out_g[row] = g;
      weights[row] = prior * 2.0f * sigmoid(g) * effect[row] * share[row] * form[3];
      weights[batch + row] = share[row];
    }
  });
  return 0;
}
