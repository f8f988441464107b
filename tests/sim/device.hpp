// Device work as a graph of items: an item may run once all before it are done. Streams, events and
// launched graphs are ways to say what is before what.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "sim/internal.hpp"
#include "sim/scheduler.hpp"
#include "sim/world.hpp"

namespace sim {

struct Item {
  Work work;
  std::string stream;  // for reports
  int device = 0;
  int unmet = 0;
  bool marker = false;  // nothing to do: done as soon as it may be
  bool done = false;
  std::vector<std::shared_ptr<Item>> next;
};
using ItemPtr = std::shared_ptr<Item>;

/// Adds `item` behind `before` (done ones and nulls are skipped).
void submit(const ItemPtr& item, const std::vector<ItemPtr>& before);

/// The device's sticky error, which every later call on it returns.
cudaError_t device_error(int device);
void set_device_error(int device, cudaError_t error);

}  // namespace sim
