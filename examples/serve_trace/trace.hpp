// Requests as they arrived.
#pragma once

#include <cstdint>
#include <iosfwd>
#include <string>
#include <vector>

namespace serve_trace {

struct Request {
  std::int64_t arrival = 0;    ///< 100 ns units since the first request
  std::int64_t context = 0;    ///< prompt tokens, at least 1
  std::int64_t generated = 0;  ///< answer tokens, at least 1
};

inline constexpr std::int64_t ticks_per_ms = 10000;
inline constexpr std::int64_t ticks_per_second = 1000 * ticks_per_ms;

struct Trace {
  std::string name;
  std::vector<Request> requests;  ///< sorted by arrival, never empty

  [[nodiscard]] std::int64_t span() const { return requests.back().arrival; }
  /// For the agreement: ranks that replay different traces must not serve together.
  [[nodiscard]] std::uint64_t fingerprint() const;
};

/// Reads `TIMESTAMP,ContextTokens,GeneratedTokens`, columns in any order and others ignored.
/// Strict: throws BadInput that names file and line for a missing column, a bad number or time, and
/// times that go backwards.
[[nodiscard]] Trace read_trace(const std::string& path);
[[nodiscard]] Trace read_trace(std::istream& input, const std::string& name);

}  // namespace serve_trace
