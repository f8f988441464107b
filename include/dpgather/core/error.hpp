// Every failure is an exception that says which rank, step and operation, and the numbers.
#pragma once

#include <concepts>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace dpgather {

/// Joins strings, numbers and what has `to_string()`; <format> is not to be had with g++ 12. Pass
/// such an object itself to `require`, so that its text is made only when it is needed.
template <class... Parts>
[[nodiscard]] std::string concat(const Parts&... parts) {
  std::string out;
  [[maybe_unused]] const auto append = [&out](const auto& part) {
    using Part = std::remove_cvref_t<decltype(part)>;
    if constexpr (std::same_as<Part, bool>)
      out += part ? "true" : "false";
    else if constexpr (std::same_as<Part, char>)
      out += part;
    else if constexpr (std::integral<Part> || std::floating_point<Part>)
      out += std::to_string(part);
    else if constexpr (requires { part.to_string(); })
      out += part.to_string();
    else
      out += std::string_view(part);
  };
  (append(parts), ...);
  return out;
}

/// Where something failed. A negative rank or step means "not known here" and is left out of the
/// text.
struct ErrorContext {
  int rank = -1;
  std::int64_t step = -1;
  std::string_view operation = {};
};

/// Base of all errors of the library. `what()` is "[rank 3, step 17, all_gather_v] detail";
/// `detail()` is the part that is the same on all ranks when all ranks throw.
class Error : public std::runtime_error {
 public:
  Error(const ErrorContext& where, std::string detail)
      : std::runtime_error(prefix(where) + detail),
        rank_(where.rank),
        step_(where.step),
        operation_(where.operation),
        detail_(std::move(detail)) {}

  [[nodiscard]] int rank() const noexcept { return rank_; }
  [[nodiscard]] std::int64_t step() const noexcept { return step_; }
  [[nodiscard]] const std::string& operation() const noexcept { return operation_; }
  [[nodiscard]] const std::string& detail() const noexcept { return detail_; }

 private:
  static std::string prefix(const ErrorContext& where) {
    std::string inside;
    const auto add = [&inside](std::string_view part) {
      if (!inside.empty()) inside += ", ";
      inside += part;
    };
    if (where.rank >= 0) add(concat("rank ", where.rank));
    if (where.step >= 0) add(concat("step ", where.step));
    if (!where.operation.empty()) add(where.operation);
    return inside.empty() ? std::string{} : concat("[", inside, "] ");
  }

  int rank_;
  std::int64_t step_;
  std::string operation_;
  std::string detail_;
};

/// A size, count, rank or option outside its limits; nothing has been changed.
struct InvalidArgument : Error {
  using Error::Error;
};
/// More rows than a buffer or a captured size holds; nothing has been changed.
struct CapacityError : Error {
  using Error::Error;
};
/// Ranks called different operations, counts or types; the text lists each rank's call.
struct MismatchError : Error {
  using Error::Error;
};
/// Ranks disagree on what the step is: step number, policies or attention-TP copies.
struct DivergenceError : Error {
  using Error::Error;
};
/// Another rank failed, left or aborted; this rank was freed.
struct PeerError : Error {
  using Error::Error;
};
/// A peer did not arrive within the deadline.
struct TimeoutError : Error {
  using Error::Error;
};
/// A capture failed, or a captured graph may not run any more (its communicator or buffers are
/// gone).
struct GraphError : Error {
  using Error::Error;
};

/// Throws `E` unless `condition` holds.
template <class E = InvalidArgument, class... Parts>
void require(bool condition, const ErrorContext& where, const Parts&... parts) {
  if (!condition) [[unlikely]]
    throw E(where, concat(parts...));
}

/// Receives what a destructor could not throw. Replace it once, before ranks start.
using DestructorErrorHandler = void (*)(const char* message) noexcept;

inline DestructorErrorHandler& destructor_error_handler() noexcept {
  static DestructorErrorHandler handler =
      +[](const char* message) noexcept { std::fprintf(stderr, "dpgather: %s\n", message); };
  return handler;
}

}  // namespace dpgather
