// Waiting for peers over MPI without hanging: polled requests, a deadline, abort, departure.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <exception>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include <dpgather/comm/mpi/api.hpp>
#include <dpgather/comm/mpi/mailbox.hpp>
#include <dpgather/comm/mpi/process.hpp>
#include <dpgather/comm/wait.hpp>

namespace dpgather::detail {

/// What MpiComm and MpiControl share. Non-blocking collectives go over `calls()` and are ended by
/// `wait`. A failure is sticky: each later `check` and `wait` throws PeerError with its reason.
class MpiLink {
 public:
  /// Collective over `parent`.
  MpiLink(MPI_Comm parent, std::chrono::milliseconds deadline, std::string_view kind)
      : MpiLink(checked(parent, deadline, kind), deadline) {}
  MpiLink(MpiLink&&) = delete;
  ~MpiLink() {
    if (!mpi::usable()) {
      destructor_error_handler()("an MPI communicator outlived MPI_Finalize");
      static_cast<void>(mailbox_.release());
      return;
    }
    if (std::uncaught_exceptions() > exceptions_)
      abort(concat("rank ", rank(), " ended with an exception"));
    mailbox_->send(MpiNotice::Kind::left, ended_, failure_, {});
    if (started_ != ended_) mailbox_->abandon_calls();
    MpiProcess::get().retire(std::move(mailbox_));
  }

  [[nodiscard]] int rank() const { return mailbox_->rank(); }
  [[nodiscard]] int size() const { return mailbox_->size(); }
  [[nodiscard]] MPI_Comm calls() const { return mailbox_->calls(); }
  [[nodiscard]] bool failed() const { return !failure_.empty(); }

  /// A child: ranks of one `color` (not negative), by (key, rank). Collective; all ranks must be
  /// here.
  [[nodiscard]] std::unique_ptr<MpiLink> split(int color, int key) const {
    return std::unique_ptr<MpiLink>(new MpiLink(
        {mpi::split(calls(), color, key), mpi::split(calls(), color, key), spins_}, deadline_));
  }

  void check(const ErrorContext& where) {
    if (!failed()) mailbox_->poll();
    if (!mailbox_->aborted().empty()) fail(mailbox_->aborted());
    if (failed()) throw PeerError(where, concat("communicator failed: ", failure_));
  }
  /// The first reason stays.
  void fail(std::string_view reason) {
    if (!failed())
      failure_ = reason.empty() ? std::string_view("aborted without a reason") : reason;
  }
  /// Fails, and tells every peer; bounded in time, never throws.
  void abort(std::string_view reason) noexcept {
    if (failed() || !mpi::usable()) return;
    fail(reason);
    mailbox_->send(MpiNotice::Kind::aborted, started_, failure_, std::chrono::milliseconds(500));
  }

  /// Takes the code of an MPI_I... call just made. An error there breaks the communicator.
  void started(int code, std::string_view call, const ErrorContext& where) {
    if (code != MPI_SUCCESS) break_down(code, call, where);
    ++started_;
  }
  /// Ends `requests`, or throws PeerError or TimeoutError and leaves them to MPI: the caller hands
  /// buffers of its own that they use to MpiProcess::keep.
  ///
  /// Latency against cores: where the ranks of this host have a core each, spin on MPI_Test (MPI
  /// progresses in there) for some milliseconds. Then, and at once where they share cores, yield
  /// a thousand times, which hands the core to the peer we wait for, then sleep 20 to 200 us between
  /// tests.
  void wait(std::span<MPI_Request> requests, const ErrorContext& where) {
    const auto limit = std::chrono::steady_clock::now() + deadline_;
    auto nap = std::chrono::microseconds(20);
    for (int round = 1; !done(requests, where); ++round) {
      const bool spinning = round <= spins_;
      if (spinning && round % 16 != 0) {
        cpu_relax();
        continue;
      }
      look_for_trouble(where);
      if (spinning) continue;
      if (round <= spins_ + yields) {
        std::this_thread::yield();
        continue;
      }
      if (std::chrono::steady_clock::now() >= limit) time_out(where);
      std::this_thread::sleep_for(nap);
      nap = std::min(nap * 2, std::chrono::microseconds(200));
    }
    ended_ += static_cast<std::int64_t>(requests.size());
  }

 private:
  static constexpr int spins_on_own_core = 40000, yields = 1000;
  struct Parts {
    mpi::OwnedComm calls, notices;
    int spins;
  };
  static Parts checked(MPI_Comm parent, std::chrono::milliseconds deadline, std::string_view kind) {
    const ErrorContext where{.operation = kind};
    require(mpi::usable(), where,
            "MPI is not initialised, or finalized already; see MpiEnvironment");
    require(parent != MPI_COMM_NULL, where, "the MPI communicator is MPI_COMM_NULL");
    require(deadline.count() > 0, where, "deadline is ", deadline.count(), " ms, must be positive");
    return {
        mpi::duplicate(parent), mpi::duplicate(parent),
        SpinBudget::for_ranks(mpi::ranks_on_host(parent)).shares_cores() ? 0 : spins_on_own_core};
  }
  MpiLink(Parts parts, std::chrono::milliseconds deadline)
      : mailbox_(std::make_unique<MpiMailbox>(std::move(parts.calls), std::move(parts.notices))),
        deadline_(deadline),
        spins_(parts.spins),
        exceptions_(std::uncaught_exceptions()) {
    MpiProcess::get().tidy();
  }

  bool done(std::span<MPI_Request> requests, const ErrorContext& where) {
    int all = 0;
    const int code = requests.size() == 1 ? MPI_Test(requests.data(), &all, MPI_STATUS_IGNORE)
                                          : MPI_Testall(static_cast<int>(requests.size()),
                                                        requests.data(), &all, MPI_STATUSES_IGNORE);
    if (code != MPI_SUCCESS) break_down(code, "MPI_Test", where);
    return all != 0;
  }
  void look_for_trouble(const ErrorContext& where) {
    check(where);
    // No notice of our own: every rank learns of the leaver itself, and one that is in an earlier
    // call, which the leaver took part in, must end that call well.
    const int leaver = mailbox_->left_before(started_);
    if (leaver < 0) return;
    const std::string& why = mailbox_->leaver_said();
    fail(why.empty() ? concat("rank ", leaver, " left while others are in ", where.operation)
                     : why);
    check(where);
  }
  [[noreturn]] void time_out(const ErrorContext& where) {
    abort(concat("no answer within ", deadline_.count(), " ms in ", where.operation, " on rank ",
                 rank()));
    throw TimeoutError(where, failure_);
  }
  [[noreturn]] void break_down(int code, std::string_view call, const ErrorContext& where) {
    abort(concat(call, " failed on rank ", rank(), ": ", mpi::error_text(code)));
    throw MpiError(where, failure_);
  }

  std::unique_ptr<MpiMailbox> mailbox_;
  std::chrono::milliseconds deadline_;
  int spins_;
  int exceptions_;
  std::int64_t started_ = 0;
  std::int64_t ended_ = 0;
  std::string failure_;
};

}  // namespace dpgather::detail
