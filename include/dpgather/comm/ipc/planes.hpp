// What processes of one host tell each other besides data: handles, failures, and that they are
// through.
#pragma once

#include <atomic>
#include <chrono>
#include <cstddef>
#include <exception>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include <dpgather/comm/shared_memory_control.hpp>
#include <dpgather/core/cuda/api.hpp>
#include <dpgather/core/error.hpp>

namespace dpgather::detail {

/// Collective. Of two planes one fails with the communicator; by the other ranks wait for each other
/// before they free what peers have mapped, also after a failure.
class IpcPlanes {
 public:
  IpcPlanes(const std::string& name, int rank, int size, std::chrono::milliseconds deadline)
      : plane_(name, rank, size, deadline), closing_(name + "-end", rank, size, 2 * deadline) {}

  [[nodiscard]] int rank() const { return plane_.rank(); }
  [[nodiscard]] int size() const { return plane_.size(); }
  /// Collective: what every rank gave, in rank order.
  template <class R>
  requires std::is_trivially_copyable_v<R>
  [[nodiscard]] std::vector<R> exchange(const R& mine) {
    std::vector<R> all(static_cast<std::size_t>(size()));
    plane_.post(std::as_bytes(std::span(&mine, 1)));
    plane_.wait(std::as_writable_bytes(std::span(all)));
    return all;
  }
  void abort(std::string_view reason) { plane_.abort(reason); }
  void check() const { plane_.check(); }
  /// Collective: all have closed what they mapped. Gives up when a rank is gone, or past twice the
  /// deadline, which a peer's device may take itself to come to an end; after that it waits no more.
  void closed() noexcept {
    try {
      const std::byte done{1};
      std::vector<std::byte> all(static_cast<std::size_t>(size()));
      closing_.post(std::span(&done, 1));
      closing_.wait(all);
    } catch (const std::exception& error) {
      if (!failed && !std::exchange(told_, true)) destructor_error_handler()(error.what());
    }
  }

  /// Says that the host waits for the device to end, which takes as long as peers let it.
  template <class F>
  void finishing(const F& wait) {
    since_.store(std::chrono::steady_clock::now());
    wait();
    since_.store(never);
  }
  [[nodiscard]] std::chrono::steady_clock::duration finishing_for() const {
    const auto since = since_.load();
    return since == never ? std::chrono::steady_clock::duration::zero()
                          : std::chrono::steady_clock::now() - since;
  }

  /// Fails the communicator; set by its owner.
  std::function<void(std::string_view)> fail = [](std::string_view) {};
  std::atomic<bool> failed{false};

 private:
  static constexpr auto never = std::chrono::steady_clock::time_point::max();
  std::atomic<std::chrono::steady_clock::time_point> since_{never};
  SharedMemoryControl plane_, closing_;
  bool told_ = false;
};

}  // namespace dpgather::detail
