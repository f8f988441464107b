// MeasuredRule: the transport of least predicted time.
#pragma once

#include <array>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>

#include <dpgather/core/element.hpp>
#include <dpgather/core/error.hpp>
#include <dpgather/core/hash.hpp>
#include <dpgather/exchange/choice.hpp>
#include <dpgather/exchange/transport_rule.hpp>
#include <dpgather/plan/cost_table.hpp>

namespace dpgather {

/// For `Auto<MeasuredRule>`. Among the transports that a step may take and that the table knows,
/// the one of least predicted time; but what the last step of the kind (captured or not) took is
/// kept unless another is predicted to be faster by more than `margin`, a share of the faster
/// one's time: traffic at a crossover would flap else, and every transport has graphs of its own.
///
/// All ranks choose alike because they predict from agreed counts, by one build of the program and
/// the same table (it is in the fingerprint), and begin the same steps in the same order. `choose`
/// changes and allocates nothing; only a step that begins, in `began`, moves what is kept.
class MeasuredRule {
 public:
  /// Throws InvalidArgument if the table is not sound or `margin` not within 0 to 10.
  explicit MeasuredRule(CostTable table, double margin = 0.05)
      : table_(std::move(table)), margin_(margin) {
    table_.check();
    constexpr int most = 10;
    require(std::isfinite(margin) && margin >= 0 && margin <= most, {.operation = "MeasuredRule"},
            "margin is ", detail::digits(margin), ", must be 0 to ", most);
  }

  [[nodiscard]] Choice choose(const StepLoad& load, const Allowed& allowed) const {
    Transport fastest = Transport::max_len;
    double least = -1;
    for (std::size_t i = 0; i < transport_count; ++i) {
      const auto transport = static_cast<Transport>(i);
      if (!known(transport, allowed)) continue;
      const double time = table_.seconds(transport, load.counts);
      if (least < 0 || time < least) fastest = transport, least = time;
    }
    const auto& kept = kept_[kind(allowed)];
    if (kept && *kept != fastest && table_.seconds(*kept, load.counts) <= least * (1 + margin_))
      return {*kept, ChoiceReason::within_margin};
    return {fastest, ChoiceReason::least_time};
  }
  /// A step began for which `choose` said `transport`.
  void began(const Allowed& allowed, Transport transport) {
    if (known(transport, allowed)) kept_[kind(allowed)] = transport;
  }
  [[nodiscard]] std::uint64_t fingerprint() const {
    return Hash{}
        .add(std::string_view("measured"))
        .add(table_.fingerprint())
        .add(detail::bit_cast<std::uint64_t>(margin_))
        .value();
  }
  [[nodiscard]] const CostTable& table() const { return table_; }

 private:
  [[nodiscard]] bool known(Transport transport, const Allowed& allowed) const {
    return allowed.may_take(transport) && table_.of(transport).has_value();
  }
  [[nodiscard]] static std::size_t kind(const Allowed& allowed) {
    return (allowed.captured ? 1u : 0u) + (allowed.peers ? 2u : 0u) +
           (allowed.host_peers ? 4u : 0u);
  }

  CostTable table_;
  double margin_;
  std::array<std::optional<Transport>, 8> kept_ = {};
};

static_assert(TransportRule<MeasuredRule>);

}  // namespace dpgather
