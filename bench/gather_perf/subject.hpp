// One rank's part of something that is measured, with the buffers it needs.
#pragma once

#include <cstdint>
#include <memory>

#include "case.hpp"

namespace gather_perf {

class Subject {
 public:
  Subject() = default;
  Subject(const Subject&) = delete;
  Subject& operator=(const Subject&) = delete;
  virtual ~Subject() = default;

  /// Before a run whose result is looked at: some runs spoil what they read.
  virtual void prepare() {}
  /// Once, by every rank of its world together; on a device it is begun. Throws on all or on none.
  virtual void run() = 0;
  /// Waits until all runs are done.
  virtual void finish() {}
  /// Elements that the last run, which is done, left other than they must be.
  [[nodiscard]] virtual std::int64_t wrong() = 0;
  /// Bytes that this rank got in one run, its own included, where they are counted; else 0.
  [[nodiscard]] virtual std::uint64_t wire_bytes() const { return 0; }
};

/// Null: this communicator has no such call.
using SubjectPtr = std::unique_ptr<Subject>;

}  // namespace gather_perf
