// What measured costs hold for.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include <dpgather/comm/communicator.hpp>
#include <dpgather/core/element.hpp>
#include <dpgather/exchange/gather_config.hpp>
#include <dpgather/plan/layout.hpp>

namespace dpgather {

/// Of another set-up, costs must not be loaded. The texts are the caller's: what kind of
/// communicator, and on what machines; of ranks on different machines both must still be the same.
struct CostSetup {
  DpLayout layout = {};
  std::int64_t hidden = 0;
  std::string dtype = {};
  int hosts = 1;
  bool peers_in_reach = false;
  std::string communicator = {};
  std::string machine = {};

  friend bool operator==(const CostSetup&, const CostSetup&) = default;
};

template <Element T, Communicator Comm>
[[nodiscard]] CostSetup cost_setup(Comm& ffn, const GatherConfig& config,
                                   std::string communicator = {}, std::string machine = {}) {
  CostSetup setup{.layout = config.layout,
                  .hidden = config.hidden,
                  .dtype = std::string(name(ElementTraits<T>::dtype)),
                  .hosts = config.hosts,
                  .communicator = std::move(communicator),
                  .machine = std::move(machine)};
  if constexpr (PeerCommunicator<Comm>) setup.peers_in_reach = ffn.peers_in_reach();
  return setup;
}

}  // namespace dpgather
