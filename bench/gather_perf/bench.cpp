#include "bench.hpp"

#include <algorithm>
#include <cstddef>
#include <utility>

#include <fmt/format.h>

namespace gather_perf {

namespace {

std::size_t index(int rank) {
  return static_cast<std::size_t>(rank);
}

bool of_processes(Comm comm) {
  return comm == Comm::mpi || comm == Comm::open_mpi;
}

/// Null, and the reason in `why`, if it is not there.
PeerPtr peer_of(Comm comm, int ranks, std::string& why) {
  why = "this program was built without it";
  switch (comm) {
    case Comm::thread:
      return thread_peer(ranks);
    case Comm::mpi:
      return mpi_peer();
    case Comm::open_mpi:
      return open_mpi_peer();
    case Comm::gloo:
      return gloo_peer(ranks);
    case Comm::copy:
      return copy_peer();
    case Comm::nccl:
      return nccl_peer(ranks, why);
    case Comm::thread_gpu:
      return thread_gpu_peer(ranks, why);
    case Comm::copy_gpu:
      return copy_gpu_peer(ranks, why);
  }
  return nullptr;
}

}  // namespace

Bench::Bench(const Options& options, const Processes& processes)
    : options_(options), processes_(processes), threads_(processes, options.ranks, options.pin) {
  if (processes.of_mpirun()) group_.emplace(processes, options.pin);
  for (const Comm comm : options.comms) add(comm);
}

void Bench::add(Comm comm) {
  std::string why = "not started by mpirun";
  PeerPtr peer;
  if (!of_processes(comm) || group_) peer = peer_of(comm, options_.ranks, why);
  if (peer == nullptr)
    absent_.push_back(fmt::format("{}: {}", name(comm), why));
  else
    present_.push_back(
        {comm, of_processes(comm) ? static_cast<World*>(&*group_) : &threads_, std::move(peer)});
}

std::vector<Result> Bench::run(const Case& of) {
  std::vector<Entry> entries = make_entries(of);
  for (Entry& entry : entries) {
    settle(entry, of);
    had_call_[fmt::format("{} {}", name(entry.comm), call_name(of.what, entry.mode))] |=
        entry.there;
  }
  for (std::int64_t round = 0; round < options_.rounds; ++round)
    for (Entry& entry : entries)
      if (entry.there) entry.times.push_back(time(entry, entry.iterations));
  std::vector<Result> results;
  for (Entry& entry : entries)
    if (entry.there) results.push_back(result_of(entry, of));
  for (Entry& entry : entries)  // buffers are freed by all ranks together
    entry.world->sum([&](int rank) { return entry.subjects[index(rank)].reset(), 0.0; });
  return results;
}

std::vector<std::string> Bench::left_out() const {
  std::vector<std::string> names;
  for (const auto& [name, had_call] : had_call_)
    if (!had_call) names.push_back(name);
  return names;
}

std::vector<Bench::Entry> Bench::make_entries(const Case& of) {
  std::vector<Entry> entries;
  for (const auto& [comm, world, peer] : present_) {
    const bool modes = is_of_gather(of.what) && comm != Comm::copy && comm != Comm::copy_gpu;
    for (const Mode mode : modes ? options_.modes : std::vector{Mode::max_len}) {
      Entry entry{comm, mode, world, peer.get()};
      entry.subjects.resize(index(of.ranks));
      entries.push_back(std::move(entry));
    }
  }
  return entries;
}

/// Makes the subjects, and finds how many calls fit a round.
void Bench::settle(Entry& entry, const Case& of) {
  const double made = entry.world->sum([&](int rank) {
    auto& subject = entry.subjects[index(rank)];
    subject = entry.peer->make(of, entry.mode, rank);
    return subject ? 1.0 : 0.0;
  });
  entry.there = static_cast<int>(made) == of.ranks;
  if (!entry.there) return;
  static_cast<void>(time(entry, 1));
  const double once = time(entry, 1);
  const auto fit = static_cast<std::int64_t>(options_.seconds / std::max(once, 1e-9));
  entry.iterations = std::clamp<std::int64_t>(fit, 1, options_.iterations);
}

double Bench::time(Entry& entry, std::int64_t iterations) {
  const auto repeat = [&](int rank, std::int64_t times) {
    Subject& subject = *entry.subjects[index(rank)];
    for (std::int64_t i = 0; i < times; ++i) subject.run();
    subject.finish();
  };
  const double seconds = entry.world->time([&](int rank) { repeat(rank, options_.warmups); },
                                           [&](int rank) { repeat(rank, iterations); });
  // As all processes have it: they take what follows from it alike.
  return processes_.share(seconds) / static_cast<double>(iterations);
}

Result Bench::result_of(Entry& entry, const Case& of) {
  const auto each = [&](const auto& f) {
    return entry.world->sum([&](int rank) { return f(*entry.subjects[index(rank)]); });
  };
  Result result{.of = of, .comm = entry.comm, .mode = entry.mode};
  std::sort(entry.times.begin(), entry.times.end());
  result.median = entry.times[entry.times.size() / 2];
  result.least = entry.times.front();
  result.iterations = entry.iterations;
  if (options_.check) {
    each([](Subject& subject) { return subject.prepare(), 0.0; });
    each([](Subject& subject) { return subject.run(), subject.finish(), 0.0; });
    result.wrong = static_cast<std::int64_t>(
        each([](Subject& subject) { return static_cast<double>(subject.wrong()); }));
  }
  result.wire_bytes =
      each([](Subject& subject) { return static_cast<double>(subject.wire_bytes()); }) / of.ranks;
  return result;
}

}  // namespace gather_perf
