// Batch norm with the statistics of towers, and its gradient.
#include "common.h"

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
  const Arguments a{{}, data, shapes, ranks};
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
  const Arguments a{{}, data, shapes, ranks};
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
