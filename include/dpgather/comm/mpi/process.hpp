// What a process keeps for all its MPI communicators until MPI_Finalize.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include <dpgather/comm/mpi/api.hpp>
#include <dpgather/comm/mpi/mailbox.hpp>
#include <dpgather/core/vector_sum.hpp>

namespace dpgather::detail {

/// Sums pairs in float and rounds each pair's sum to 16 bits, as MPI reduces pair by pair.
template <Element T>
void mpi_sum(void* in, void* inout, int* count, MPI_Datatype*) {
  const T* pair[] = {static_cast<const T*>(in), static_cast<const T*>(inout)};
  sum_on_host(static_cast<T*>(inout), *count, 2, [&](int i) { return pair[i]; });
}

/// One a process. MPI_Finalize frees MPI_COMM_SELF first, which calls `end`: the standard's hook
/// for libraries. It works whoever calls MPI_Finalize.
class MpiProcess {
 public:
  static MpiProcess& get() {
    static auto* const process = new MpiProcess;  // never destroyed: it may be used at exit
    return *process;
  }
  [[nodiscard]] MPI_Op sum_op(DType dtype) const {
    if (dtype == DType::bfloat16) return sum_bf16_.get();
    if (dtype == DType::float16) return sum_fp16_.get();
    return MPI_SUM;
  }
  /// Frees communicators of the past whose peers have left, too.
  void tidy() {
    std::erase_if(retired_, [](const auto& mailbox) { return mailbox->finished(); });
  }
  void retire(std::unique_ptr<MpiMailbox> mailbox) {
    retired_.push_back(std::move(mailbox));
    tidy();
  }
  /// MPI still reads or writes it, as a collective cannot be cancelled.
  template <class T>
  void keep(T object) {
    kept_.push_back(std::make_shared<T>(std::move(object)));
  }
  [[nodiscard]] std::size_t retired() const { return retired_.size(); }

 private:
  MpiProcess() {
    require(mpi::usable(), {.operation = "MPI"},
            "MPI is not initialised, or finalized already; see MpiEnvironment");
    sum_bf16_ = make_sum<bf16>();
    sum_fp16_ = make_sum<fp16>();
    int key = MPI_KEYVAL_INVALID;
    mpi::check(MPI_Comm_create_keyval(MPI_COMM_NULL_COPY_FN, &MpiProcess::end, &key, nullptr),
               "MPI_Comm_create_keyval");
    mpi::check(MPI_Comm_set_attr(MPI_COMM_SELF, key, this), "MPI_Comm_set_attr");
    MPI_Comm_free_keyval(&key);
  }
  template <Element T>
  static mpi::OwnedOp make_sum() {
    MPI_Op op = MPI_OP_NULL;
    mpi::check(MPI_Op_create(&mpi_sum<T>, 1, &op), "MPI_Op_create");
    return mpi::OwnedOp(op);
  }
  static int end(MPI_Comm, int, void* self, void*) {
    auto& process = *static_cast<MpiProcess*>(self);
    const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds(5);
    for (process.tidy(); !process.retired_.empty() && std::chrono::steady_clock::now() < limit;
         process.tidy())
      std::this_thread::sleep_for(std::chrono::microseconds(100));
    for (auto& mailbox : process.retired_) mailbox->abandon();
    process.retired_.clear();
    process.sum_bf16_ = {};
    process.sum_fp16_ = {};
    return MPI_SUCCESS;
  }

  mpi::OwnedOp sum_bf16_, sum_fp16_;
  std::vector<std::unique_ptr<MpiMailbox>> retired_;
  std::vector<std::shared_ptr<void>> kept_;
};

}  // namespace dpgather::detail
