// Sends an NcclUniqueId between MPI processes. Needs MPI; no other header of NCCL's part does.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <exception>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include <dpgather/comm/control_plane.hpp>
#include <dpgather/comm/mpi/api.hpp>
#include <dpgather/comm/mpi/process.hpp>
#include <dpgather/comm/nccl/unique_id.hpp>

namespace dpgather {

/// Collective over `comm`: its rank 0 makes an id and every rank returns it; use the ranks of `comm`
/// for the communicator as well. If rank 0 cannot, all ranks throw its reason.
[[nodiscard]] inline NcclUniqueId share_by_mpi(
    MPI_Comm comm = MPI_COMM_WORLD, std::chrono::milliseconds deadline = default_deadline) {
  struct Message {
    NcclUniqueId id;
    std::array<char, 256> error{};  // empty: there is an id
  };
  require(mpi::usable(), {.operation = "share_by_mpi"},
          "MPI is not initialised, or finalized already");
  const ErrorContext at{.rank = mpi::rank_of(comm), .operation = "share_by_mpi"};
  require(deadline.count() > 0, at, "deadline is ", deadline.count(), " ms, must be positive");
  auto message = std::make_shared<Message>();
  if (at.rank == 0) {
    try {
      message->id = NcclUniqueId::create();
    } catch (const std::exception& error) {
      const std::string text = concat("rank 0 could not make an id: ", error.what());
      text.copy(message->error.data(), message->error.size() - 1);
    }
  }
  MPI_Request request = MPI_REQUEST_NULL;
  mpi::check(MPI_Ibcast(message.get(), sizeof(Message), MPI_BYTE, 0, comm, &request), "MPI_Ibcast",
             at);
  const auto until = std::chrono::steady_clock::now() + deadline;
  for (int done = 0;;) {
    mpi::check(MPI_Test(&request, &done, MPI_STATUS_IGNORE), "MPI_Test", at);
    if (done != 0) break;
    if (std::chrono::steady_clock::now() >= until) {
      detail::MpiProcess::get().keep(std::move(message));  // MPI may write it until it ends
      throw TimeoutError(at, concat("no id from rank 0 within ", deadline.count(), " ms"));
    }
    std::this_thread::sleep_for(std::chrono::microseconds(100));
  }
  require<Error>(message->error[0] == '\0', at, std::string(message->error.data()));
  return message->id;
}

}  // namespace dpgather
