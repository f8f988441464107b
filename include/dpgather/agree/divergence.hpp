// What ranks that diverged did last, side by side.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <dpgather/comm/control_plane.hpp>
#include <dpgather/core/error.hpp>
#include <dpgather/core/history.hpp>

namespace dpgather::detail {

/// All ranks' histories, in rank order. Every rank calls it, with no all-gather outstanding; throws
/// what the control plane throws.
template <ControlPlane Control>
[[nodiscard]] std::vector<RankHistory> exchange(Control& control, const RankHistory& own) {
  std::vector<RankHistory> all(static_cast<std::size_t>(control.size()));
  std::vector<HistoryPage> received(all.size());
  for (std::size_t page = 0; page < HistoryPage::pages; ++page) {
    const HistoryPage mine = HistoryPage::of(own, page);
    control.post(std::as_bytes(std::span(&mine, 1)));
    control.wait(std::as_writable_bytes(std::span(received)));
    for (std::size_t rank = 0; rank < all.size(); ++rank) received[rank].put_into(all[rank], page);
  }
  return all;
}

/// One column for all ranks that did the same, one line for each entry that any of them keeps. The
/// first entry that differs is marked. `lines` is how many to show, around that entry.
class SideBySide {
 public:
  /// `first_rank` is the rank of histories[0].
  explicit SideBySide(std::span<const RankHistory> histories, int first_rank = 0) {
    for (std::size_t i = 0; i < histories.size(); ++i) {
      const auto rank = first_rank + static_cast<int>(i);
      const auto same = std::find_if(columns_.begin(), columns_.end(), [&](const Column& column) {
        return *column.history == histories[i];
      });
      if (same == columns_.end())
        columns_.push_back({&histories[i], concat("rank ", rank)});
      else
        same->ranks.replace(0, same->ranks.find(' '), "ranks") += concat(", ", rank);
    }
    for (const Column& column : columns_) {
      begin_ = std::min(begin_, column.history->first());
      end_ = std::max(end_, column.history->count());
    }
    begin_ = std::min(begin_, end_);
    for (std::uint64_t n = begin_; n < end_ && !differs_; ++n)
      for (const Column& column : columns_)
        if (!same(columns_[0].history->find(n), column.history->find(n))) differs_ = n;
  }

  /// Number of the first entry that is not the same on all ranks, as far as they are kept.
  [[nodiscard]] std::optional<std::uint64_t> first_difference() const { return differs_; }

  [[nodiscard]] std::string to_string(std::uint64_t lines = RankHistory::capacity * 2) const {
    const std::uint64_t at = differs_.value_or(end_);
    std::uint64_t from = at - std::min(at - begin_, lines / 2);
    const std::uint64_t to = std::min(end_, from + lines);
    from = to - std::min(to - begin_, lines);
    std::string text = "what the ranks did last";
    if (!differs_)
      text += ": the same, as far as it is kept";
    else if (*differs_ == begin_ && begin_ > 0)
      text += "; > is the first entry kept, they differed before it or there";
    else
      text += "; > is the first entry that differs";
    const std::size_t shown = std::min(columns_.size(), max_columns);
    if (shown < columns_.size())
      text += concat("; ", columns_.size() - shown, " more columns are left out");
    text += "\n ";
    pad(text, "", 7);
    for (std::size_t c = 0; c < shown; ++c) pad(text, columns_[c].ranks, width);
    for (std::uint64_t n = from; n < to; ++n) {
      trim(text) += differs_ == n ? "\n>" : "\n ";
      pad(text, concat(n), 7);
      for (std::size_t c = 0; c < shown; ++c) {
        const HistoryEntry* entry = columns_[c].history->find(n);
        pad(text, entry == nullptr ? "-" : entry->to_string(), width);
      }
    }
    return trim(text);
  }

 private:
  static constexpr std::size_t max_columns = 4, width = 48;
  struct Column {
    const RankHistory* history;
    std::string ranks;
  };
  [[nodiscard]] static bool same(const HistoryEntry* a, const HistoryEntry* b) {
    return a == b || (a != nullptr && b != nullptr && *a == *b);
  }
  static void pad(std::string& text, std::string cell, std::size_t to) {
    cell.resize(std::max(cell.size() + 1, to), ' ');
    text += cell;
  }
  static std::string& trim(std::string& text) { return text.erase(text.find_last_not_of(' ') + 1); }

  std::vector<Column> columns_;
  std::uint64_t begin_ = UINT64_MAX, end_ = 0;
  std::optional<std::uint64_t> differs_;
};

/// Every rank found `error` in the same records, so all are here: they tell each other what they did
/// last. `table` is all of it; the error carries the lines around the first difference. A peer that
/// is gone leaves this rank's own history, not a hang.
template <ControlPlane Control>
[[nodiscard]] DivergenceError with_histories(const DivergenceError& error, Control& control,
                                             const RankHistory& own, std::string& table) {
  const auto tell = [&](const SideBySide& ranks, std::string_view before) {
    table = concat(before, ranks);
    const ErrorContext where{error.rank(), error.step(), error.operation()};
    return DivergenceError(where, error.detail(), concat(before, ranks.to_string(12)));
  };
  try {
    const std::vector<RankHistory> all = exchange(control, own);
    return tell(SideBySide(all), "");
  } catch (const Error& failure) {
    return tell(SideBySide({&own, 1}, control.rank()),
                concat("the other ranks did not tell: ", failure.detail(), "\n"));
  }
}

}  // namespace dpgather::detail
