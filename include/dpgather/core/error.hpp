// Every failure is an exception that says which rank, step and operation, and the numbers.
#pragma once

#include <concepts>
#include <cstdint>
#include <cstdio>
#include <exception>
#include <initializer_list>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace dpgather {

/// One piece of a message: a string, a number, or an object with `to_string()`, which is called
/// only if the message is made. Erases the type, so that a message costs a call and not an
/// instantiation.
class TextPart {
 public:
  template <class T>
  TextPart(const T& value) {  // NOLINT: implicit, so that a list of anything is a list of parts
    if constexpr (std::same_as<T, bool>)
      text_ = value ? "true" : "false";
    else if constexpr (std::same_as<T, char>)
      character_ = value, kind_ = Kind::character;
    else if constexpr (std::unsigned_integral<T>)
      unsigned_ = value, kind_ = Kind::unsigned_number;
    else if constexpr (std::integral<T>)
      signed_ = value, kind_ = Kind::signed_number;
    else if constexpr (std::floating_point<T>)
      real_ = static_cast<double>(value), kind_ = Kind::real;
    else if constexpr (requires { value.to_string(); })
      object_ = &value, kind_ = Kind::object,
      print_ = [](const void* at) { return static_cast<const T*>(at)->to_string(); };
    else
      text_ = std::string_view(value);
  }
  void append_to(std::string& out) const {
    switch (kind_) {
      case Kind::text:
        out += text_;
        break;
      case Kind::character:
        out += character_;
        break;
      case Kind::signed_number:
        out += std::to_string(signed_);
        break;
      case Kind::unsigned_number:
        out += std::to_string(unsigned_);
        break;
      case Kind::real:
        out += std::to_string(real_);
        break;
      case Kind::object:
        out += print_(object_);
        break;
    }
  }

 private:
  enum class Kind : std::uint8_t { text, character, signed_number, unsigned_number, real, object };
  std::string_view text_;
  union {
    std::int64_t signed_ = 0;
    std::uint64_t unsigned_;
    double real_;
    char character_;
    const void* object_;
  };
  std::string (*print_)(const void*) = nullptr;
  Kind kind_ = Kind::text;
};

[[nodiscard]] inline std::string join(std::initializer_list<TextPart> parts) {
  std::string out;
  for (const TextPart& part : parts) part.append_to(out);
  return out;
}
/// <format> is not to be had with g++ 12.
template <class... Parts>
[[nodiscard]] std::string concat(const Parts&... parts) {
  return join({TextPart(parts)...});
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
  /// `what()` goes on after a line break.
  Error(const ErrorContext& where, const std::string& detail, std::string_view more)
      : std::runtime_error(concat(prefix(where), detail, "\n", more)),
        rank_(where.rank),
        step_(where.step),
        operation_(where.operation),
        detail_(detail) {}

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
/// Ranks disagree on what the step is: step number, policies, graphs held or attention-TP copies.
/// Further lines of `what()` say what the ranks did last, see StepAgreement::last_divergence.
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

namespace detail {
template <class E>
[[noreturn, gnu::noinline, gnu::cold]] void raise(const ErrorContext& where,
                                                  std::initializer_list<TextPart> parts) {
  throw E(where, join(parts));
}
}  // namespace detail

/// Throws `E` unless `condition` holds. Pass objects with `to_string()` themselves: text is made
/// only on failure.
template <class E = InvalidArgument, class... Parts>
void require(bool condition, const ErrorContext& where, const Parts&... parts) {
  if (!condition) [[unlikely]]
    detail::raise<E>(where, {TextPart(parts)...});
}

/// Receives what a destructor could not throw. Replace it once, before ranks start.
using DestructorErrorHandler = void (*)(const char* message) noexcept;

inline DestructorErrorHandler& destructor_error_handler() noexcept {
  static DestructorErrorHandler handler =
      +[](const char* message) noexcept { std::fprintf(stderr, "dpgather: %s\n", message); };
  return handler;
}

}  // namespace dpgather
