// Vectors of 16 floats, which the compiler cuts where a processor's are shorter.
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "parallel.h"

constexpr int V = 16;
typedef float Vec __attribute__((vector_size(4 * V), aligned(4)));
typedef int32_t Int __attribute__((vector_size(4 * V), aligned(4)));
typedef std::vector<float> Floats;

static inline Vec load(const float* p) { return *(const Vec*)p; }
static inline void store(float* p, Vec x) { *(Vec*)p = x; }
static inline Vec all(float x) { return x - Vec{}; }
static inline Vec larger(Vec a, Vec b) { return a > b ? a : b; }
static inline int whole_vectors(int n) { return (n + V - 1) / V * V; }

static inline float total(Vec x) {
  typedef float Half __attribute__((vector_size(2 * V)));
  typedef float Quarter __attribute__((vector_size(V)));
  const Half* h = (const Half*)&x;
  Half y = h[0] + h[1];
  const Quarter* q = (const Quarter*)&y;
  Quarter z = q[0] + q[1];
  return (z[0] + z[1]) + (z[2] + z[3]);
}

// e^x for x <= 0: 2^n e^r with |r| <= ln 2 / 2; within 2e-7, and below -87 that of -87.
static inline Vec exp_of_negative(Vec x) {
  x = larger(x, all(-87.0f));
  const Vec magic = all(12582912.0f);  // 1.5 * 2^23 rounds to the nearest whole number
  Vec n = (x * all(1.44269504f) + magic) - magic;
  Vec r = (x - n * all(0.693359375f)) + n * all(2.12194440e-4f);
  Vec y = all(1.9875691500e-4f);
  for (float c : {1.3981999507e-3f, 8.3334519073e-3f, 4.1665795894e-2f, 1.6666665459e-1f,
                  5.0000001201e-1f})
    y = y * r + all(c);
  y = y * r * r + r + all(1.0f);
  return y * (Vec)((__builtin_convertvector(n, Int) + 127) << 23);
}

// work(half, begin, end) for the rows before `middle` and for those from it on.
template <class Work> static void in_two(int middle, int rows, const Work& work) {
  parallel(2, [&](int64_t half) { half ? work(1, middle, rows) : work(0, 0, middle); });
}
