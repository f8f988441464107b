// TrimView: a rank's own rows as the first rows of the padded output, without a copy.
#pragma once

#include <concepts>
#include <cstdint>

#include <dpgather/core/error.hpp>
#include <dpgather/core/rows.hpp>
#include <dpgather/trim/output_rows.hpp>

namespace dpgather {

/// A policy cuts an output to a rank's own rows; TrimView is the simplest.
template <class P>
concept TrimPolicy = requires(const P& trim, const OwnRows& own, Rows<float> rows, Output output,
                              const ErrorContext& where) {
  { trim(own, rows, output, where) } -> std::same_as<Rows<float>>;
};

struct TrimView {
  /// Rows `[0, n)` of `rows`, n as `output_rows` says; the view lives as long as the memory of
  /// `rows`. InvalidArgument if `rows` has fewer.
  template <class T>
  [[nodiscard]] Rows<T> operator()(const OwnRows& own, Rows<T> rows,
                                   Output output = Output::by_mode,
                                   const ErrorContext& where = {.operation = "trim"}) const {
    const std::int64_t kept = output_rows(own, output);
    require(kept <= rows.rows(), where, "output has ", rows.rows(), " rows, ", kept,
            " of this rank are to be kept");
    return rows.slice(0, kept);
  }
};

static_assert(TrimPolicy<TrimView>);

}  // namespace dpgather
