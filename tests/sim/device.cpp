#include "sim/device.hpp"

#include <algorithm>
#include <exception>
#include <map>

namespace sim {
namespace {

std::vector<ItemPtr>& front_items() {
  static auto* const items = new std::vector<ItemPtr>;
  return *items;
}

std::map<int, cudaError_t>& errors() {
  static auto* const map = new std::map<int, cudaError_t>;
  return *map;
}

[[maybe_unused]] const bool cleared_each_run = [] {
  on_reset([] {
    front_items().clear();
    errors().clear();
  });
  return true;
}();

void enable(const ItemPtr& item);

void finish(Item& item) {
  item.done = true;
  item.work = Work{.name = item.work.name, .rank = item.work.rank};  // frees what it captured
  const auto next = std::move(item.next);
  item.next.clear();
  for (const ItemPtr& after : next)
    if (--after->unmet == 0) enable(after);
}

void enable(const ItemPtr& item) {
  if (item->marker)
    finish(*item);
  else
    front_items().push_back(item);
}

bool is_ready(const Item& item) {
  if (!item.work.ready || device_error(item.device) != cudaSuccess) return true;
  bool ready = false;
  as_device_work(item.work.rank, true, [&] { ready = item.work.ready(); });
  return ready;
}

/// True when it is done. On a device that has failed nothing runs any more.
bool run_part(Item& item) {
  if (device_error(item.device) != cudaSuccess) return true;
  bool last = true;
  try {
    as_device_work(item.work.rank, item.work.kind != Count::host_function, [&] {
      if (item.work.slice)
        last = item.work.slice();
      else if (item.work.run)
        item.work.run();
    });
  } catch (const std::exception& error) {
    violation(item.work.name + " of rank " + std::to_string(item.work.rank) + ": " + error.what(),
              item.device);
  }
  return last;
}

}  // namespace

void submit(const ItemPtr& item, const std::vector<ItemPtr>& before) {
  for (const ItemPtr& b : before) {
    if (b == nullptr || b->done || b == item) continue;
    ++item->unmet;
    b->next.push_back(item);
  }
  if (item->unmet == 0) enable(item);
}

std::size_t fronts() {
  return front_items().size();
}

bool device_step() {
  auto& items = front_items();
  const std::size_t n = items.size();
  if (n == 0) return false;
  const std::size_t first = choose(n);
  for (std::size_t i = 0; i < n; ++i) {
    const std::size_t at = (first + i) % n;
    const ItemPtr item = items[at];
    if (!is_ready(*item)) continue;
    if (run_part(*item)) {
      items.erase(items.begin() + static_cast<std::ptrdiff_t>(at));
      finish(*item);
    }
    return true;
  }
  return false;
}

double next_deadline_of_fronts() {
  double next = never;
  for (const ItemPtr& item : front_items())
    if (item->work.until) next = std::min(next, item->work.until());
  return next;
}

std::string report_of_fronts() {
  std::string text;
  for (const ItemPtr& item : front_items()) {
    text += item->stream + ", front: " + item->work.name;
    if (item->work.rank >= 0) text += " of rank " + std::to_string(item->work.rank);
    if (item->work.waits_for) text += ", " + item->work.waits_for();
    text += "\n";
  }
  return text;
}

bool in_device_work() {
  return this_thread().in_device_work != 0;
}

void as_device_work(int rank, bool device_memory, const std::function<void()>& f) {
  struct Inside {
    explicit Inside(int r) : before(this_thread().work_rank) {
      ++this_thread().in_device_work;
      this_thread().work_rank = r;
    }
    ~Inside() {
      --this_thread().in_device_work;
      this_thread().work_rank = before;
    }
    int before;
  } const inside(rank);
  if (!device_memory) return f();
  const DeviceAccess access;
  f();
}

cudaError_t device_error(int device) {
  const auto found = errors().find(device);
  return found == errors().end() ? cudaSuccess : found->second;
}
void set_device_error(int device, cudaError_t error) {
  if (device >= 0) errors().try_emplace(device, error);
}

void violation(const std::string& what, int device) {
  report_now().violations.push_back(what);
  set_device_error(device, cudaErrorIllegalAddress);
}

}  // namespace sim
