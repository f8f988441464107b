// What a rank did last, for the text of a DivergenceError.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>

#include <dpgather/core/error.hpp>

namespace dpgather {

/// What all ranks do alike. `user` is for what an engine adds.
enum class Did : std::uint8_t {
  post,
  confirm,
  capture,
  drop,
  replay,
  eager,
  invalidate,
  retune,
  user,
};
[[nodiscard]] constexpr std::string_view name(Did did) {
  constexpr std::string_view names[] = {"post",  "confirm",    "capture", "drop", "replay",
                                        "eager", "invalidate", "retune",  "user"};
  const auto i = static_cast<std::size_t>(did);
  return i < std::size(names) ? names[i] : "unknown";
}

/// Of what must be the same on all ranks, and nothing else: no counts of this rank's own.
struct HistoryEntry {
  std::int64_t step = -1;
  std::uint64_t bytes = 0;
  std::uint64_t key = 0;  ///< a hash
  std::int32_t local_len = 0;
  std::int32_t global_len = 0;
  Did did = Did::user;
  std::array<char, 23> note{};

  void set_note(std::string_view text) {
    note = {};
    text.copy(note.data(), note.size() - 1);
  }
  /// "step 3 replay 4/8 4096 B #1a2b3c4d note"
  [[nodiscard]] std::string to_string() const {
    std::string text = concat(step < 0 ? "" : concat("step ", step, " "), name(did));
    if (local_len != 0 || global_len != 0) text += concat(" ", local_len, "/", global_len);
    if (bytes != 0) text += concat(" ", bytes, " B");
    if (key != 0) {
      text += " #";
      for (int shift = 28; shift >= 0; shift -= 4) text += "0123456789abcdef"[(key >> shift) & 15];
    }
    if (note[0] != '\0') text += concat(" ", std::string_view(note.data()));
    return text;
  }
  friend bool operator==(const HistoryEntry&, const HistoryEntry&) = default;
};
static_assert(std::is_trivially_copyable_v<HistoryEntry>);

/// The last entries, numbered from 0 since the agreement began. Adding allocates nothing.
class RankHistory {
 public:
  static constexpr std::size_t capacity = 64;

  void add(const HistoryEntry& entry) { ring_[count_++ % capacity] = entry; }
  /// A post, which is in every step: written in place, faster than a copy of an entry just made.
  void add_post(std::int64_t step, std::uint64_t bytes, std::uint64_t key) {
    HistoryEntry& entry = ring_[count_++ % capacity];
    entry.step = step;
    entry.bytes = bytes;
    entry.key = key;
    entry.local_len = entry.global_len = 0;
    entry.did = Did::post;
    entry.note = {};
  }
  [[nodiscard]] std::uint64_t count() const { return count_; }
  /// Number of the oldest that is kept.
  [[nodiscard]] std::uint64_t first() const { return count_ < capacity ? 0 : count_ - capacity; }
  /// Null if `number` is not kept.
  [[nodiscard]] const HistoryEntry* find(std::uint64_t number) const {
    return number < first() || number >= count_ ? nullptr : &ring_[number % capacity];
  }
  friend bool operator==(const RankHistory&, const RankHistory&) = default;

 private:
  friend struct HistoryPage;
  std::uint64_t count_ = 0;
  std::array<HistoryEntry, capacity> ring_{};
};

/// A quarter of a history, which fits the records of every control plane.
struct HistoryPage {
  static constexpr std::size_t pages = 4;
  static constexpr std::size_t entries = RankHistory::capacity / pages;

  std::uint64_t count = 0;
  std::array<HistoryEntry, entries> part{};

  static HistoryPage of(const RankHistory& history, std::size_t page) {
    HistoryPage result{.count = history.count_};
    std::copy_n(history.ring_.begin() + static_cast<std::ptrdiff_t>(page * entries), entries,
                result.part.begin());
    return result;
  }
  void put_into(RankHistory& history, std::size_t page) const {
    history.count_ = count;
    std::copy_n(part.begin(), entries,
                history.ring_.begin() + static_cast<std::ptrdiff_t>(page * entries));
  }
};
static_assert(sizeof(HistoryPage) <= 1024 && std::is_trivially_copyable_v<HistoryPage>);

}  // namespace dpgather
