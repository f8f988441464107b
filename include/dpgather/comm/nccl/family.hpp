// A communicator and those split off it: one deadline, one watchdog, and they fail together when
// work of any of them may be stuck on a stream that they share.
#pragma once

#include <exception>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include <dpgather/comm/nccl/api.hpp>
#include <dpgather/comm/nccl/failure.hpp>
#include <dpgather/comm/nccl/options.hpp>
#include <dpgather/comm/nccl/watchdog.hpp>

namespace dpgather::detail {

class NcclMember {
 public:
  /// Why it should be given up now, or nothing. Never waits.
  [[nodiscard]] virtual std::string overdue() = 0;
  /// After a failure: aborts it, once.
  virtual void end() = 0;

  NcclFailure failure;

 protected:
  ~NcclMember() = default;
};

/// Shared by its members, which may be used by several threads.
class NcclFamily {
 public:
  explicit NcclFamily(const NcclOptions& options) : options_(options) {
    if (options.watchdog)
      watchdog_ = std::make_unique<NcclWatchdog>(options.watchdog_interval, [this] { watch(); });
  }
  [[nodiscard]] const NcclOptions& options() const { return options_; }
  void add(NcclMember& member) {
    const std::lock_guard lock(mutex_);
    members_.push_back(&member);
  }
  /// Waits for a failure that is being spread.
  void remove(NcclMember& member) {
    const std::lock_guard lock(mutex_);
    std::erase(members_, &member);
  }
  /// Every member fails with `reason` and is aborted.
  void fail(std::string_view reason) {
    const std::lock_guard lock(mutex_);
    fail_members(reason);
  }

 private:
  void watch() noexcept {
    try {
      const std::lock_guard lock(mutex_);
      for (NcclMember* const member : members_)
        if (const std::string reason = member->overdue(); !reason.empty())
          return fail_members(reason);
    } catch (const std::exception& error) {
      nccl::report(error.what());
    }
  }
  /// All are flagged first, so that no member is waited for that waits itself.
  void fail_members(std::string_view reason) {
    for (NcclMember* const member : members_) member->failure.set(reason);
    for (NcclMember* const member : members_) member->end();
  }

  const NcclOptions options_;
  std::mutex mutex_;
  std::vector<NcclMember*> members_;
  std::unique_ptr<NcclWatchdog> watchdog_;  // last: it is the first to go
};

}  // namespace dpgather::detail
