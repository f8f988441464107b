// Seconds of a step by contender, as a table and as JSON.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace step_cost {

/// What the others are compared with: together copies and two barriers.
inline constexpr const char* copies_and_barrier = "copies, a barrier";
inline constexpr const char* copies_between_ranks = "copies between ranks";
inline constexpr const char* a_barrier = "a barrier";

struct Report {
  struct Line {
    std::string name;
    double median = 0, least = 0, most = 0;  ///< seconds of a step, over the passes
  };

  int ranks = 1;
  std::int64_t hidden = 0, steps = 0;
  bool of_trace = false, rewritten = false;
  double measured_in = 0;  ///< seconds that MeasuredRule's times took
  std::uint64_t least_time = 0, within_margin = 0;
  std::vector<Line> lines = {};

  /// `seconds` of a step in each pass, at least one.
  void add(const std::string& name, std::vector<double> seconds);
  /// The line by this name; its median is 0 if there is none.
  [[nodiscard]] Line line(const std::string& name) const;
  [[nodiscard]] std::string table() const;
  [[nodiscard]] std::string json() const;

 private:
  /// What a step cannot be faster than: copies and two barriers.
  [[nodiscard]] double limit() const;
};

/// Prints the table, and writes the JSON unless `path` is empty.
void publish(const Report& report, const std::string& path);

}  // namespace step_cost
