// TrimCompact: valid rows of padded per-request slots, copied one after the other.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <type_traits>

#include <dpgather/core/error.hpp>
#include <dpgather/core/launch.hpp>
#include <dpgather/core/rows.hpp>
#include <dpgather/core/stream.hpp>
#include <dpgather/trim/compact_rows.hpp>
#include <dpgather/trim/output_rows.hpp>
#include <dpgather/trim/trim_view.hpp>

namespace dpgather {

/// Whole numbers one behind the other, one a request: a vector, array or span. Without <ranges>,
/// which takes a tenth of the time to compile all of this library.
template <class R>
concept RequestCounts = requires(const R& counts) {
  requires std::integral<std::remove_cvref_t<decltype(*std::data(counts))>>;
  { std::size(counts) } -> std::convertible_to<std::size_t>;
  requires std::is_pointer_v<decltype(std::data(counts))>;
};

namespace detail {

template <class T>
[[nodiscard]] bool overlap(Rows<const T> a, Rows<const T> b) {
  if (a.size() == 0 || b.size() == 0) return false;
  const std::less<const T*> before;
  return before(a.row(0), b.row(b.rows() - 1) + b.width()) &&
         before(b.row(0), a.row(a.rows() - 1) + a.width());
}

}  // namespace detail

/// A TrimView that also compacts: with draft tokens, say, where each request has `width` padded
/// rows of which its accept length are valid. For counts in device memory see
/// trim/device_compact.cuh.
struct TrimCompact : TrimView {
  using TrimView::operator();

  /// `slots` `[>= requests * width, H]`: request r has rows r * width up to r * width + valid[r].
  /// `valid` `[requests]`, each 0 to width, is read here, on the host. Returns the first
  /// sum(valid) rows of `out`, whose other rows are unchanged; nothing is written if a check fails.
  /// `out` may not overlap `slots`. CapacityError if `out` is too short. One launch for each 96
  /// requests.
  template <class T, RequestCounts Valid, class Stream = HostStream>
  [[nodiscard]] Rows<std::remove_const_t<T>> operator()(
      const OwnRows& own, Rows<T> slots, const Valid& valid, Rows<std::remove_const_t<T>> out,
      const ErrorContext& where = {.operation = "trim"}, Stream stream = {}) const {
    using U = std::remove_const_t<T>;
    using Body = detail::CompactSlots<U>;
    const auto* counts = std::data(valid);
    const auto requests = static_cast<std::int64_t>(std::size(valid));
    require(!stream.capturing(), where, "compaction reads counts on the host, not in a graph");
    require(requests == own.requests, where, requests, " valid counts given, this rank has ",
            own.requests, " requests");
    require(slots.rows() >= requests * own.width, where, "slots have ", slots.rows(), " rows, ",
            requests, " requests of ", own.width, " need ", requests * own.width);
    require(out.width() == slots.width(), where, "out has rows of ", out.width(),
            " elements, slots of ", slots.width());
    std::int64_t total = 0;
    for (std::int64_t r = 0; r < requests; ++r) {
      const auto count = static_cast<std::int64_t>(counts[r]);
      require(count >= 0 && count <= own.width, where, "request ", r, " has ", count,
              " valid rows, must be 0 to ", own.width);
      total += count;
    }
    require<CapacityError>(total <= out.rows(), where, "out has ", out.rows(), " rows, ", total,
                           " are valid");
    require(!detail::overlap<U>(slots, out), where, "out overlaps slots");
    std::int64_t start = 0;
    for (std::int64_t first = 0; first < requests; first += Body::most) {
      const std::int64_t chunk = requests - first < Body::most ? requests - first : Body::most;
      Body body{{}, slots.slice(first * own.width, chunk * own.width), Rows<U>(out), own.width};
      for (std::int64_t r = 0; r < chunk; ++r) {
        body.starts[r] = start;
        start += static_cast<std::int64_t>(counts[first + r]);
      }
      body.starts[chunk] = start;
      launch(stream, "trim_compact", chunk * own.width, body);
    }
    return out.slice(0, total);
  }
};

static_assert(TrimPolicy<TrimCompact>);

}  // namespace dpgather
