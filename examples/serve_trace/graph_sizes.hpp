// The sizes that steps are captured at, of whichever kind the options ask for.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <variant>

#include <dpgather/plan/capture_sizes.hpp>
#include <dpgather/plan/shape_sizes.hpp>
#include <dpgather/plan/size_policy.hpp>
#include <dpgather/tune/retuned_sizes.hpp>

#include "options.hpp"

namespace serve_trace {

/// SGLang's default sizes, a list of shapes, or shapes that follow the traffic.
class GraphSizes {
 public:
  explicit GraphSizes(dpgather::CaptureSizes sizes) : sizes_(std::move(sizes)) {}
  explicit GraphSizes(dpgather::ShapeSizes sizes) : sizes_(std::move(sizes)) {}
  explicit GraphSizes(dpgather::RetunedSizes sizes) : sizes_(std::move(sizes)) {}

  [[nodiscard]] std::optional<std::int64_t> fit(std::int64_t n) const {
    return std::visit([n](const auto& sizes) { return sizes.fit(n); }, sizes_);
  }
  [[nodiscard]] std::optional<dpgather::SizePair> fit_pair(std::int64_t longest,
                                                           std::int64_t fullest) const {
    return std::visit([=](const auto& sizes) { return sizes.fit_pair(longest, fullest); }, sizes_);
  }
  [[nodiscard]] std::uint64_t fingerprint() const {
    return std::visit([](const auto& sizes) { return sizes.fingerprint(); }, sizes_);
  }
  [[nodiscard]] bool note(const dpgather::SizePair& needed) {
    return retuned() != nullptr && retuned()->note(needed);
  }
  [[nodiscard]] std::uint64_t next() const {
    const auto* const sizes = std::get_if<dpgather::RetunedSizes>(&sizes_);
    return sizes == nullptr ? 0 : sizes->next();
  }
  void adopt() {
    if (retuned() != nullptr) retuned()->adopt();
  }
  /// Of now. None of the default sizes, which stay.
  [[nodiscard]] std::span<const dpgather::SizePair> pairs() const {
    if (const auto* const sizes = std::get_if<dpgather::RetunedSizes>(&sizes_))
      return sizes->pairs();
    if (const auto* const sizes = std::get_if<dpgather::ShapeSizes>(&sizes_)) return sizes->pairs();
    return {};
  }

 private:
  [[nodiscard]] dpgather::RetunedSizes* retuned() {
    return std::get_if<dpgather::RetunedSizes>(&sizes_);
  }
  std::variant<dpgather::CaptureSizes, dpgather::ShapeSizes, dpgather::RetunedSizes> sizes_;
};

static_assert(dpgather::LearningSizes<GraphSizes>);

/// SGLang's default sizes up to --max-running, and at least one.
[[nodiscard]] dpgather::CaptureSizes capture_sizes(const Options& options);
/// As --shapes and --retune say; the default sizes without. Throws BadInput.
[[nodiscard]] GraphSizes graph_sizes(const Options& options);

}  // namespace serve_trace
