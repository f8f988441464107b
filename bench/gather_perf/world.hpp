// Ranks that run together: threads of the first process, or the processes of mpirun. While those of
// one kind run, the others sleep.
#pragma once

#include <barrier>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace gather_perf {

/// The processes of this run; one, where mpirun did not start it.
class Processes {
 public:
  Processes(int& argc, char**& argv);
  Processes(const Processes&) = delete;
  Processes& operator=(const Processes&) = delete;
  ~Processes();

  [[nodiscard]] int rank() const { return rank_; }
  [[nodiscard]] int size() const { return size_; }
  /// Under mpirun, even if it started one process only.
  [[nodiscard]] bool of_mpirun() const { return of_mpirun_; }
  /// Collective: the value of the first process; those that wait sleep.
  [[nodiscard]] double share(double value) const;
  /// Collective.
  [[nodiscard]] double add(double value) const;
  void meet() const;
  /// Prints why and ends all processes.
  [[noreturn]] void give_up(int rank, const char* reason) const;

 private:
  int rank_ = 0;
  int size_ = 1;
  bool of_mpirun_ = false;
};

class World {
 public:
  World(const Processes& processes, bool pins) : processes_(processes), pins_(pins) {}
  World(const World&) = delete;
  World& operator=(const World&) = delete;
  virtual ~World() = default;

  [[nodiscard]] virtual int ranks() const = 0;
  /// Collective over all processes: the sum of `f(rank)` over this world's ranks.
  virtual double sum(const std::function<double(int rank)>& f) = 0;
  /// Seconds that `f(rank)` takes after `before(rank)`, the mean of the ranks. They begin that together
  /// as well as threads wake up; if it ends in a collective they begin `f` closer than that.
  double time(const std::function<void(int rank)>& before, const std::function<void(int rank)>& f);

 protected:
  virtual void meet() = 0;
  const Processes& processes_;
  const bool pins_;  ///< each rank to a core
};

class ProcessWorld final : public World {
 public:
  using World::World;
  [[nodiscard]] int ranks() const override { return processes_.size(); }
  double sum(const std::function<double(int rank)>& f) override;

 private:
  void meet() override { processes_.meet(); }
};

/// Its threads are in the first process and live as long as it does.
class ThreadWorld final : public World {
 public:
  ThreadWorld(const Processes& processes, int ranks, bool pins);
  ~ThreadWorld() override;
  [[nodiscard]] int ranks() const override { return ranks_; }
  double sum(const std::function<double(int rank)>& f) override;

 private:
  void meet() override { met_.arrive_and_wait(); }
  void serve(int rank);

  int ranks_;
  std::barrier<> met_;
  std::mutex mutex_;
  std::condition_variable asked_, answered_;
  const std::function<double(int)>* task_ = nullptr;
  std::uint64_t round_ = 0;
  int busy_ = 0;
  bool ended_ = false;
  double total_ = 0;
  std::vector<std::thread> threads_;
};

}  // namespace gather_perf
