// Participants that wait for a futex word or a condition variable to be signalled.
#pragma once

#include <atomic>
#include <vector>

namespace sim {

/// Signals may come from any thread, also from one without the baton.
class Waiters {
 public:
  struct Entry {
    const void* at;
    std::atomic<bool> signalled{false};
  };
  void add(Entry& entry) {
    const Lock lock(*this);
    entries_.push_back(&entry);
  }
  void remove(Entry& entry) {
    const Lock lock(*this);
    std::erase(entries_, &entry);
  }
  void signal(const void* at, bool all) {
    const Lock lock(*this);
    for (Entry* entry : entries_) {
      if (entry->at != at || entry->signalled.load()) continue;
      entry->signalled.store(true);
      if (!all) return;
    }
  }

 private:
  struct Lock {  // no pthread mutex: those are what we stand in for
    explicit Lock(Waiters& w) : waiters(w) {
      while (waiters.busy_.test_and_set(std::memory_order_acquire)) {
      }
    }
    ~Lock() { waiters.busy_.clear(std::memory_order_release); }
    Waiters& waiters;
  };
  std::atomic_flag busy_;
  std::vector<Entry*> entries_;
};

}  // namespace sim
