// Times all contenders on one case, in turn.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "options.hpp"
#include "peers.hpp"
#include "table.hpp"
#include "world.hpp"

namespace gather_perf {

class Bench {
 public:
  /// `options` and `processes` outlive it.
  Bench(const Options& options, const Processes& processes);

  /// Communicators asked for that are not here, each with the reason.
  [[nodiscard]] const std::vector<std::string>& absent() const { return absent_; }
  [[nodiscard]] bool has_any() const { return !present_.empty(); }
  /// Collective over all processes: runs everyone `rounds` times in turn, so that what disturbs the
  /// machine disturbs them alike. Nobody who has no such call.
  [[nodiscard]] std::vector<Result> run(const Case& of);
  /// Contenders that were asked for, but had no such call in any case so far.
  [[nodiscard]] std::vector<std::string> left_out() const;

 private:
  struct Present {
    Comm comm;
    World* world;
    PeerPtr peer;
  };
  /// One communicator and mode on one case: what its ranks hold, and its times so far.
  struct Entry {
    Comm comm;
    Mode mode;
    World* world;
    Peer* peer;
    std::vector<SubjectPtr> subjects = {};  ///< [ranks], those of this process
    bool there = false;                     ///< on all ranks
    std::int64_t iterations = 1;
    std::vector<double> times = {};
  };

  void add(Comm comm);
  [[nodiscard]] std::vector<Entry> make_entries(const Case& of);
  void settle(Entry& entry, const Case& of);
  [[nodiscard]] double time(Entry& entry, std::int64_t iterations);
  [[nodiscard]] Result result_of(Entry& entry, const Case& of);

  const Options& options_;
  const Processes& processes_;
  ThreadWorld threads_;
  std::optional<ProcessWorld> group_;
  std::vector<Present> present_;
  std::vector<std::string> absent_;
  std::map<std::string, bool> had_call_;  ///< by contender
};

}  // namespace gather_perf
