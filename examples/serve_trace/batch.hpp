// The batch that a DP rank's model runs on, made from its work of the step.
#pragma once

#include <cstdint>
#include <vector>

#include <dpgather/pad/fields.hpp>

#include "identity.hpp"
#include "replay.hpp"

namespace serve_trace {

struct Batch {
  std::vector<std::int64_t> input_ids;  ///< [tokens]; here the row's identity
  std::vector<std::int64_t> positions;  ///< [tokens]
  std::vector<std::int64_t> seq_lens;   ///< [requests]

  /// Makes the batch anew; keeps its memory.
  void assign(const Work& work, std::int64_t step, int dp_rank) {
    input_ids.clear();
    positions.clear();
    seq_lens.clear();
    for (const Segment& segment : work.segments) {
      seq_lens.push_back(segment.seq_len());
      for (std::int64_t i = 0; i < segment.rows; ++i) {
        input_ids.push_back(row_id(step, dp_rank, static_cast<std::int64_t>(input_ids.size())));
        positions.push_back(segment.first + i);
      }
    }
  }
  /// Room for the padded batch too, which is made in place.
  void reserve(std::int64_t tokens, std::int64_t requests) {
    for (auto* field : {&input_ids, &positions}) field->reserve(static_cast<std::size_t>(tokens));
    seq_lens.reserve(static_cast<std::size_t>(requests));
  }

  static constexpr auto fields =
      dpgather::batch_fields(dpgather::token_field("input_ids", &Batch::input_ids),
                             dpgather::token_field("positions", &Batch::positions),
                             dpgather::request_field("seq_lens", &Batch::seq_lens, {.fill = 1}));
};

/// Where a field's elements are, whatever holds them.
template <class E>
[[nodiscard]] const E* elements(const std::vector<E>& field) {
  return field.data();
}
template <class E>
[[nodiscard]] const E* elements(const dpgather::BatchField<E>& field) {
  return field.data;
}

}  // namespace serve_trace
