#include "reference.hpp"

#include <bit>

#include "identity.hpp"

namespace serve_trace {
namespace {

bool same_bits(float a, float b) {
  return std::bit_cast<std::uint32_t>(a + 0.0f) == std::bit_cast<std::uint32_t>(b + 0.0f);
}

}  // namespace

std::int64_t Reference::wrong_rows(const Work& work, std::int64_t step, int dp_rank,
                                   bool decode_only, dpgather::Rows<const float> output) {
  const std::int64_t rows = work.rows(), hidden = weights_->in.rows();
  if (rows == 0) return 0;
  if (output.rows() != rows || output.width() != hidden) return rows;
  if (input_.rows() < rows) input_.resize(rows, hidden);
  std::int64_t row = 0;
  for (const Segment& segment : work.segments)
    for (std::int64_t i = 0; i < segment.rows; ++i, ++row)
      fill_row(row_id(step, dp_rank, row), segment.first + i, decode_only ? segment.seq_len() : 0,
               &input_(row, 0), hidden);
  inner_.noalias() = input_.topRows(rows) * weights_->in;
  inner_ = inner_.cwiseMax(0.0f);
  expected_.noalias() = inner_ * weights_->out;
  std::int64_t wrong = 0;
  for (row = 0; row < rows; ++row) {
    bool same = true;
    for (std::int64_t column = 0; column < hidden; ++column)
      same = same && same_bits(expected_(row, column), output(row, column));
    wrong += same ? 0 : 1;
  }
  return wrong;
}

}  // namespace serve_trace
