// FNV-1a over values; for policy fingerprints and call signatures.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <type_traits>

namespace dpgather {

class Hash {
 public:
  template <class T>
  requires(std::is_integral_v<T> || std::is_enum_v<T>) constexpr Hash& add(T value) {
    auto bits = static_cast<std::uint64_t>(value);
    for (int i = 0; i < 8; ++i, bits >>= 8) step(static_cast<std::uint8_t>(bits));
    return *this;
  }
  constexpr Hash& add(std::string_view text) {
    for (const char c : text) step(static_cast<std::uint8_t>(c));
    return add(text.size());
  }
  [[nodiscard]] constexpr std::uint64_t value() const { return state_; }

 private:
  constexpr void step(std::uint8_t byte) { state_ = (state_ ^ byte) * 1099511628211u; }
  std::uint64_t state_ = 14695981039346656037u;
};

}  // namespace dpgather
