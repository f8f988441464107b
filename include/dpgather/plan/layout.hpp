// Who is where: attention data parallel, attention tensor parallel, FFN groups.
#pragma once

#include <cstdint>

#include <dpgather/core/error.hpp>
#include <dpgather/core/hash.hpp>

namespace dpgather {

/// W = `dp` DP ranks of A = `attn_tp` ranks each; world rank r is attention-TP rank r % A of DP
/// rank r / A. An FFN group is a block of `ffn_dp` neighbouring DP ranks whose rows meet in one
/// global buffer; 0 is all.
struct DpLayout {
  int dp = 1;
  int attn_tp = 1;
  int ffn_dp = 0;

  [[nodiscard]] constexpr int world() const { return dp * attn_tp; }
  [[nodiscard]] constexpr int dp_rank(int rank) const { return rank / attn_tp; }
  [[nodiscard]] constexpr int tp_rank(int rank) const { return rank % attn_tp; }
  /// DP ranks of one FFN group.
  [[nodiscard]] constexpr int group_dp() const { return ffn_dp == 0 ? dp : ffn_dp; }
  /// Ranks of one FFN group: the size of the communicator that a gather takes.
  [[nodiscard]] constexpr int group_world() const { return group_dp() * attn_tp; }
  [[nodiscard]] constexpr int group(int rank) const { return rank / group_world(); }
  /// First DP rank of the group that `rank` is in.
  [[nodiscard]] constexpr int group_first_dp(int rank) const { return group(rank) * group_dp(); }

  void check() const {
    constexpr int limit = 1 << 20;
    const ErrorContext where{.operation = "DpLayout"};
    require(dp >= 1 && dp <= limit, where, "dp is ", dp, ", must be 1 to ", limit);
    require(attn_tp >= 1 && attn_tp <= limit / dp, where, "attn_tp is ", attn_tp, ", must be 1 to ",
            limit / dp, " with dp ", dp);
    require(ffn_dp >= 0 && ffn_dp <= dp && dp % group_dp() == 0, where, "ffn_dp is ", ffn_dp,
            ", must be 0 (all) or divide dp ", dp);
  }
  void check_rank(int rank) const {
    require(rank >= 0 && rank < world(), {.operation = "DpLayout"}, "rank is ", rank,
            ", must be 0 to ", world() - 1);
  }
  [[nodiscard]] constexpr std::uint64_t fingerprint() const {
    return Hash{}.add(dp).add(attn_tp).add(group_dp()).value();
  }
  friend constexpr bool operator==(const DpLayout&, const DpLayout&) = default;
};

}  // namespace dpgather
