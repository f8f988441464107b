#include "gpu_choice.hpp"

#include <cstddef>
#include <map>
#include <set>

namespace nccl_ffn {
namespace {

/// Kuhn's algorithm for matchings: a process that finds all its GPUs taken asks those who have them
/// to take others.
class Matching {
 public:
  explicit Matching(const std::vector<std::vector<Uuid>>& seen)
      : seen_(seen), taken_(seen.size(), -1) {
    for (std::size_t process = 0; process < seen.size(); ++process) {
      std::set<Uuid> asked;
      take(process, asked);
    }
  }
  [[nodiscard]] const std::vector<int>& taken() const { return taken_; }

 private:
  bool take(std::size_t process, std::set<Uuid>& asked) {
    const std::vector<Uuid>& mine = seen_[process];
    for (const bool free : {true, false})
      for (std::size_t i = 0; i < mine.size(); ++i) {
        const std::size_t at = (process + i) % mine.size();
        const auto owner = owners_.find(mine[at]);
        if (free != (owner == owners_.end())) continue;
        if (!free && (!asked.insert(mine[at]).second || !take(owner->second, asked))) continue;
        owners_[mine[at]] = process;
        taken_[process] = static_cast<int>(at);
        return true;
      }
    return false;
  }

  const std::vector<std::vector<Uuid>>& seen_;
  std::vector<int> taken_;
  std::map<Uuid, std::size_t> owners_;
};

}  // namespace

std::vector<int> choose_gpus(const std::vector<std::vector<Uuid>>& seen) {
  return Matching(seen).taken();
}

}  // namespace nccl_ffn
