// Ranks that are processes of one host, in the simulation: IpcComm over what device_ranks.hpp has.
#pragma once

#include <chrono>
#include <memory>
#include <type_traits>

#include <dpgather/comm/ipc.hpp>

#include "support/device_ranks.hpp"

namespace test {

inline constexpr std::chrono::milliseconds ipc_deadline{300};
/// The base gives up long after the barriers.
inline constexpr dpgather::NcclOptions patient_nccl{.deadline = std::chrono::milliseconds(5000)};

template <class Base>
struct DeviceWorld<dpgather::IpcComm<Base>> {
  using Comm = dpgather::IpcComm<Base>;
  explicit DeviceWorld(const dpgather::DpLayout& l,
                       dpgather::IpcOptions o = {.deadline = ipc_deadline})
      : layout(l), options(o), base(make(l)), board(base.board) {}
  [[nodiscard]] Comm join(int rank, dpgather::ThreadControl& control) const {
    return Comm(base.join(rank, control), options);
  }
  dpgather::DpLayout layout;
  dpgather::IpcOptions options;
  DeviceWorld<Base> base;
  std::shared_ptr<dpgather::ThreadControlBoard> board;

 private:
  static DeviceWorld<Base> make(const dpgather::DpLayout& l) {
    if constexpr (std::is_constructible_v<DeviceWorld<Base>, dpgather::DpLayout,
                                          dpgather::NcclOptions>)
      return DeviceWorld<Base>(l, patient_nccl);
    else
      return DeviceWorld<Base>(l);
  }
};

}  // namespace test
