// The one header that includes <mpi.h>: error checks and owners of MPI objects.
#pragma once

// The C++ bindings are long gone from the standard, and their headers warn.
#ifndef OMPI_SKIP_MPICXX
#define OMPI_SKIP_MPICXX 1
#endif
#ifndef MPICH_SKIP_MPICXX
#define MPICH_SKIP_MPICXX 1
#endif
#include <cstddef>
#include <string>
#include <string_view>
#include <utility>

#include <mpi.h>

#include <dpgather/core/element.hpp>
#include <dpgather/core/error.hpp>

namespace dpgather {

/// MPI itself reported an error; the text has MPI's own words.
struct MpiError : Error {
  using Error::Error;
};

namespace mpi {

[[nodiscard]] inline std::string error_text(int code) {
  std::string text(MPI_MAX_ERROR_STRING, '\0');
  int length = 0;
  if (MPI_Error_string(code, text.data(), &length) != MPI_SUCCESS) return concat("error ", code);
  text.resize(static_cast<std::size_t>(length));
  return text;
}

/// Throws MpiError unless `code` says success.
inline void check(int code, std::string_view call, const ErrorContext& where = {}) {
  if (code != MPI_SUCCESS) [[unlikely]]
    throw MpiError(where, concat(call, ": ", error_text(code)));
}

/// MPI calls are legal: after MPI_Init and before MPI_Finalize.
[[nodiscard]] inline bool usable() {
  int started = 0;
  int ended = 0;
  MPI_Initialized(&started);
  MPI_Finalized(&ended);
  return started != 0 && ended == 0;
}

/// Owns an MPI object; move-only. Does nothing once MPI is finalized.
template <class Kind>
class Owned {
 public:
  using Handle = typename Kind::Handle;

  Owned() = default;
  explicit Owned(Handle handle) : handle_(handle) {}
  Owned(Owned&& other) noexcept : handle_(other.release()) {}
  Owned& operator=(Owned&& other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }
  ~Owned() {
    if (handle_ != Kind::null() && usable()) Kind::free(&handle_);
  }
  [[nodiscard]] Handle get() const { return handle_; }
  Handle release() { return std::exchange(handle_, Kind::null()); }

 private:
  Handle handle_ = Kind::null();
};

// The null handles are no constants in every MPI, hence functions.
struct CommKind {
  using Handle = MPI_Comm;
  static Handle null() { return MPI_COMM_NULL; }
  static void free(Handle* handle) { MPI_Comm_free(handle); }
};
struct OpKind {
  using Handle = MPI_Op;
  static Handle null() { return MPI_OP_NULL; }
  static void free(Handle* handle) { MPI_Op_free(handle); }
};
using OwnedComm = Owned<CommKind>;
using OwnedOp = Owned<OpKind>;

[[nodiscard]] inline int rank_of(MPI_Comm comm) {
  int rank = 0;
  check(MPI_Comm_rank(comm, &rank), "MPI_Comm_rank");
  return rank;
}
[[nodiscard]] inline int size_of(MPI_Comm comm) {
  int size = 0;
  check(MPI_Comm_size(comm, &size), "MPI_Comm_size");
  return size;
}

/// Errors on `comm` come back as codes, so that they can be thrown.
[[nodiscard]] inline OwnedComm returning_errors(MPI_Comm comm) {
  OwnedComm owned(comm);
  if (comm != MPI_COMM_NULL)
    check(MPI_Comm_set_errhandler(comm, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
  return owned;
}
/// Collective over `parent`.
[[nodiscard]] inline OwnedComm duplicate(MPI_Comm parent) {
  MPI_Comm copy = MPI_COMM_NULL;
  check(MPI_Comm_dup(parent, &copy), "MPI_Comm_dup");
  return returning_errors(copy);
}
/// Collective over `parent`; `color` is not negative.
[[nodiscard]] inline OwnedComm split(MPI_Comm parent, int color, int key) {
  MPI_Comm part = MPI_COMM_NULL;
  check(MPI_Comm_split(parent, color, key, &part), "MPI_Comm_split");
  return returning_errors(part);
}
/// Ranks of `parent` on this host. Collective over `parent`.
[[nodiscard]] inline int ranks_on_host(MPI_Comm parent) {
  MPI_Comm host = MPI_COMM_NULL;
  check(MPI_Comm_split_type(parent, MPI_COMM_TYPE_SHARED, 0, MPI_INFO_NULL, &host),
        "MPI_Comm_split_type");
  const OwnedComm owned(host);
  return size_of(host);
}

/// 16-bit floats travel as 2-byte integers; their sums need `sum_op`.
[[nodiscard]] inline MPI_Datatype datatype(DType dtype) {
  switch (dtype) {
    case DType::float32:
      return MPI_FLOAT;
    case DType::float64:
      return MPI_DOUBLE;
    case DType::bfloat16:
    case DType::float16:
      return MPI_UINT16_T;
    case DType::int32:
      return MPI_INT32_T;
    case DType::int64:
      return MPI_INT64_T;
  }
  return MPI_DATATYPE_NULL;
}

}  // namespace mpi
}  // namespace dpgather
