// What every world shares: per-rank findings, values that tell where they came from, guarded
// buffers.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <numeric>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <dpgather/core/element.hpp>
#include <dpgather/core/error.hpp>

#include "support/seed.hpp"

namespace conformance {

using dpgather::concat;

/// Thrown by a test on purpose; a world does not count it as a problem.
struct Planned : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// What one rank found wrong. Ranks collect, the test asserts once all have ended: doctest is not
/// made for threads, let alone for processes.
class Findings {
 public:
  void expect(bool ok, std::string_view what) {
    if (!ok && problems_++ < 5) text_ += concat("\n    ", what);
  }
  template <class T>
  void equal(std::span<const T> got, std::span<const T> want, std::string_view what) {
    expect(got.size() == want.size(),
           concat(what, ": ", got.size(), " elements, expected ", want.size()));
    for (std::size_t i = 0; i < std::min(got.size(), want.size()); ++i) {
      if (got[i] == want[i]) continue;
      return expect(false, concat(what, ": element ", i, " is ", number(got[i]), ", expected ",
                                  number(want[i])));
    }
  }
  /// `f` throws an E whose text holds all of `parts`; returns the text.
  template <class E, class F>
  std::string throws(const F& f, std::string_view what,
                     std::initializer_list<std::string_view> parts = {}) {
    try {
      f();
    } catch (const E& error) {
      const std::string text = error.what();
      for (const auto part : parts)
        expect(text.find(part) != std::string::npos,
               concat(what, ": \"", text, "\" does not say \"", part, "\""));
      return text;
    } catch (const std::exception& error) {
      expect(false, concat(what, ": another error came: ", error.what()));
      return {};
    }
    expect(false, concat(what, ": no error came"));
    return {};
  }
  /// What has this in its name may be left behind, where a harness looks for that.
  void may_leave(std::string_view what) { left_ = what; }
  [[nodiscard]] bool leak_allowed(std::string_view name) const {
    return !left_.empty() && name.find(left_) != std::string_view::npos;
  }
  [[nodiscard]] const std::string& text() const { return text_; }

 private:
  template <class T>
  static double number(T value) {
    if constexpr (sizeof(T) == 2)
      return static_cast<float>(value);
    else
      return static_cast<double>(value);
  }
  std::string text_;
  std::string left_;
  int problems_ = 0;
};

/// Destructors report nothing while it lives.
class QuietDestructors {
 public:
  QuietDestructors() {
    dpgather::destructor_error_handler() = +[](const char*) noexcept {};
  }
  QuietDestructors(const QuietDestructors&) = delete;
  QuietDestructors& operator=(const QuietDestructors&) = delete;
  ~QuietDestructors() { dpgather::destructor_error_handler() = before_; }

 private:
  const dpgather::DestructorErrorHandler before_ = dpgather::destructor_error_handler();
};

/// What a test body gets besides its communicator.
struct Rank {
  int rank;
  int size;
  Findings& findings;
  std::function<void()> barrier;  // of the harness, not of what is tested
};
/// The same with the streams of a world.
template <class Stream>
struct Place : Rank {
  Stream stream = {};
  Stream other = {};  // another one, where a stream is something that one can have two of
};

inline std::string findings_of(int rank, const Findings& findings) {
  return findings.text().empty() ? std::string() : concat("\n  rank ", rank, ":", findings.text());
}

/// Small integers in every type, scaled so that a narrower type on the way would lose them.
template <class T>
T make(std::int64_t small) {
  if constexpr (std::is_same_v<T, std::int64_t>)
    return small * (std::int64_t{1} << 40);
  else if constexpr (std::is_same_v<T, double>)
    return static_cast<double>(small) * (1.0 + 0x1p-40);
  else if constexpr (std::is_same_v<T, std::int32_t>)
    return static_cast<std::int32_t>(small) * (1 << 20);
  else
    return T(static_cast<float>(small));
}
/// In [-8, 8], so that sums of 8 ranks are exact in bf16, too.
inline std::int64_t small(int rank, std::int64_t i, int salt = 0) {
  return (rank * 5 + i * 3 + i / 17 + salt) % 17 - 8;
}
template <class T>
T value(int rank, std::int64_t i, int salt = 0) {
  return make<T>(small(rank, i, salt));
}
template <class T>
T sum(int ranks, std::int64_t i, int salt = 0) {
  std::int64_t total = 0;
  for (int rank = 0; rank < ranks; ++rank) total += small(rank, i, salt);
  return make<T>(total);
}

template <class F>
void for_each_type(const F& f) {
  f(float{}, "float");
  f(double{}, "double");
  f(dpgather::bf16{}, "bf16");
  f(dpgather::fp16{}, "fp16");
  f(std::int32_t{}, "int32");
  f(std::int64_t{}, "int64");
}

/// Ragged counts with their offsets; `gap` elements lie before each block.
struct Blocks {
  std::string name;
  std::vector<std::int64_t> counts, offsets;
  std::int64_t end = 0;

  Blocks(std::string_view what, std::vector<std::int64_t> n, std::int64_t gap)
      : name(concat(what, ", gaps of ", gap)), counts(std::move(n)) {
    for (const auto count : counts) {
      offsets.push_back(end + gap);
      end += gap + count;
    }
  }
  [[nodiscard]] std::int64_t total() const {
    return std::accumulate(counts.begin(), counts.end(), std::int64_t{0});
  }
};

/// The same on all ranks.
inline std::vector<Blocks> ragged(int size, std::uint64_t seed) {
  const auto n = static_cast<std::size_t>(size);
  support::Random random(seed);
  std::vector<std::pair<std::string, std::vector<std::int64_t>>> all;
  all.emplace_back("equal", std::vector<std::int64_t>(n, 6));
  all.emplace_back("none", std::vector<std::int64_t>(n, 0));
  auto& skewed =
      all.emplace_back("one rank has nearly all", std::vector<std::int64_t>(n, 1)).second;
  skewed[n / 2] = 20001;
  all.emplace_back("only the first", std::vector<std::int64_t>(n, 0)).second.front() = 3001;
  all.emplace_back("only the last", std::vector<std::int64_t>(n, 0)).second.back() = 37;
  auto& rising = all.emplace_back("rising from 0", std::vector<std::int64_t>(n)).second;
  std::iota(rising.begin(), rising.end(), 0);
  for (int i = 0; i < 3; ++i) {
    auto& counts = all.emplace_back(concat("random ", i), std::vector<std::int64_t>(n)).second;
    for (auto& count : counts) count = random.chance(30) ? 0 : random.between(1, 300);
  }
  std::vector<Blocks> blocks;
  for (const auto& [name, counts] : all)
    for (const std::int64_t gap : {0, 3}) blocks.emplace_back(name, counts, gap);
  return blocks;
}

}  // namespace conformance
