// A call's tasks, shared with a few waiting threads.
//
// Between two calls the threads spin for some microseconds, then sleep.  Tasks are claimed one by one,
// so that the caller never waits for a thread that another process keeps from running, unless it has
// begun a task.  A second caller at the same time does its tasks alone.
#pragma once
#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <cstdlib>
#include <mutex>
#include <sched.h>
#include <thread>

#if defined(__x86_64__)
static inline void rest() { __builtin_ia32_pause(); }
#else
static inline void rest() { std::this_thread::yield(); }
#endif

// While one lives, its thread takes numbers below 1e-38 for 0.  Threads come in both kinds, and which of
// them does a part of the work must not decide a bit; besides, such numbers are slow.
class NoDenormals {
 public:
#if defined(__x86_64__)
  NoDenormals() : before_(__builtin_ia32_stmxcsr()) { __builtin_ia32_ldmxcsr(before_ | 0x8040); }
  ~NoDenormals() { __builtin_ia32_ldmxcsr(before_); }

 private:
  unsigned before_;
#elif defined(__aarch64__)
  NoDenormals() : before_(__builtin_aarch64_get_fpcr()) {
    __builtin_aarch64_set_fpcr(before_ | 1u << 24);
  }
  ~NoDenormals() { __builtin_aarch64_set_fpcr(before_); }

 private:
  unsigned before_;
#endif
};

class Team {
 public:
  static Team& get() {
    static Team* team = new Team();  // never destroyed: its threads may outlive static objects
    return *team;
  }

  int threads() const { return threads_; }

  template <class Task>
  void run(int64_t tasks, const Task& task) {
    const NoDenormals mode;
    if (tasks <= 1 || threads_ == 1 || !caller_.try_lock()) {
      for (int64_t i = 0; i < tasks; ++i) task(i);
      return;
    }
    std::lock_guard<std::mutex> guard(caller_, std::adopt_lock);
    task_ = [](const void* self, int64_t i) { (*static_cast<const Task*>(self))(i); };
    self_ = &task;
    tasks_ = tasks;
    next_ = 0;
    open_ = true;
    ++calls_;
    if (asleep_ > 0) {
      std::lock_guard<std::mutex> sleepers(sleep_);
      wake_.notify_all();
    }
    claim();
    open_ = false;
    while (active_ > 0) rest();  // those who began a task
  }

 private:
  Team() {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) threads_ = std::min(CPU_COUNT(&set), kMost);
    for (int i = 1; i < threads_; ++i) std::thread([this] { serve(); }).detach();
  }

  void claim() {
    for (int64_t i; (i = next_++) < tasks_;) task_(self_, i);
  }

  void serve() {
    const NoDenormals mode;
    for (uint64_t seen = 0;;) {
      for (int i = 0; i < kSpins && calls_ == seen; ++i) rest();
      if (calls_ == seen) {
        std::unique_lock<std::mutex> lock(sleep_);
        ++asleep_;
        wake_.wait(lock, [&] { return calls_ != seen; });
        --asleep_;
      }
      seen = calls_;
      ++active_;
      if (open_) claim();
      --active_;
    }
  }

  static constexpr int kSpins = 2000, kMost = 16;
  int threads_ = 1;
  std::mutex caller_, sleep_;
  std::condition_variable wake_;
  void (*task_)(const void*, int64_t) = nullptr;
  const void* self_ = nullptr;
  int64_t tasks_ = 0;
  std::atomic<int64_t> next_{0};
  std::atomic<uint64_t> calls_{0};
  std::atomic<int> active_{0}, asleep_{0};
  std::atomic<bool> open_{false};
};

template <class Task>
static void parallel(int64_t tasks, const Task& task) {
  Team::get().run(tasks, task);
}

// A float buffer of the calling thread that lives as long as the thread.
static inline float* scratch(int64_t floats) {
  struct Buffer {
    float* data = nullptr;
    int64_t size = 0;
    ~Buffer() { std::free(data); }
  };
  static thread_local Buffer buffer;
  if (buffer.size < floats) {
    std::free(buffer.data);
    buffer.data = static_cast<float*>(std::aligned_alloc(64, (floats * 4 + 63) / 64 * 64));
    buffer.size = floats;
  }
  return buffer.data;
}
