#include "peers.hpp"

#ifdef GATHER_PERF_GLOO

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include <gloo/allgather.h>
#include <gloo/allgatherv.h>
#include <gloo/allreduce.h>
#include <gloo/barrier.h>
#include <gloo/reduce_scatter.h>
#include <gloo/rendezvous/context.h>
#include <gloo/rendezvous/hash_store.h>
#include <gloo/transport/tcp/device.h>

#include "elements.hpp"

namespace gather_perf {

namespace {

using Context = std::shared_ptr<gloo::Context>;

template <class T>
void add(T* to, const T* from, std::size_t n) {
  for (std::size_t i = 0; i < n; ++i)
    to[i] = static_cast<T>(static_cast<float>(to[i]) + static_cast<float>(from[i]));
}

/// Gloo's reduce-scatter works in place and leaves its result in front; it is shown as out of place,
/// without the copy that this would take.
template <class T>
class GlooSubject final : public Subject {
 public:
  GlooSubject(Context context, const Case& of, int rank)
      : context_(std::move(context)), what_(of.what), in_place_(of.in_place), at_(of, rank) {
    for (const std::int64_t n : at_.counts()) counts_.push_back(static_cast<std::size_t>(n));
    if (scatters()) {
      std::vector<int> elements;
      for (const std::int64_t n : at_.counts()) elements.push_back(static_cast<int>(n));
      work_ = dpgather::Buffer<T>(at_.total());
      scatter_ = std::make_unique<gloo::ReduceScatterHalvingDoubling<T>>(
          context_, std::vector<T*>{work_.data()}, static_cast<int>(at_.total()), elements, &sum_);
    }
    prepare();
  }
  void prepare() override {
    at_.refill();
    if (scatters()) std::copy_n(at_.send(), at_.total(), work_.data());
  }
  void run() override {
    T* const send = const_cast<T*>(at_.send());
    switch (what_) {
      case What::barrier: {
        gloo::BarrierOptions options(context_);
        return gloo::barrier(options);
      }
      case What::all_gather: {
        gloo::AllgatherOptions options(context_);
        if (!in_place_) options.setInput(send, counts_[0]);
        options.setOutput(at_.recv(), static_cast<std::size_t>(at_.total()));
        return gloo::allgather(options);
      }
      case What::all_gather_v: {
        gloo::AllgathervOptions options(context_);
        if (!in_place_) options.setInput(send, static_cast<std::size_t>(at_.count()));
        options.setOutput(at_.recv(), counts_);
        return gloo::allgatherv(options);
      }
      case What::all_reduce: {
        gloo::AllreduceOptions options(context_);
        if (!in_place_) options.setInput(send, static_cast<std::size_t>(at_.total()));
        options.setOutput(at_.recv(), static_cast<std::size_t>(at_.total()));
        options.setReduceFunction([](void* to, const void* a, const void* b, std::size_t n) {
          auto* sums = static_cast<T*>(to);
          const auto* x = static_cast<const T*>(a);
          const auto* y = static_cast<const T*>(b);
          for (std::size_t i = 0; i < n; ++i)
            sums[i] = static_cast<T>(static_cast<float>(x[i]) + static_cast<float>(y[i]));
        });
        return gloo::allreduce(options);
      }
      case What::reduce_scatter:
      case What::reduce_scatter_v:
        return scatter_->run();
      case What::gather:
      case What::back:
        return;
    }
  }
  [[nodiscard]] std::int64_t wrong() override {
    if (scatters()) std::copy_n(work_.data(), at_.count(), at_.recv());
    return at_.wrong();
  }

 private:
  [[nodiscard]] bool scatters() const {
    return what_ == What::reduce_scatter || what_ == What::reduce_scatter_v;
  }

  Context context_;
  What what_;
  bool in_place_;
  CollectiveBuffers<T> at_;
  dpgather::Buffer<T> work_;
  std::vector<std::size_t> counts_;
  gloo::ReductionFunction<T> sum_{gloo::ReductionType::CUSTOM, &add<T>};
  std::unique_ptr<gloo::Algorithm> scatter_;
};

class GlooPeer final : public Peer {
 public:
  explicit GlooPeer(int ranks)
      : store_(std::make_shared<gloo::rendezvous::HashStore>()),
        contexts_(static_cast<std::size_t>(ranks)) {
    // Not in the ranks' threads: a device's own thread would be kept to the core of its rank.
    for (int rank = 0; rank < ranks; ++rank) devices_.push_back(make_device());
  }

  SubjectPtr make(const Case& of, Mode, int rank) override {
    const bool scatters = of.what == What::reduce_scatter || of.what == What::reduce_scatter_v;
    if (is_of_gather(of.what) || of.ranks == 1 || (scatters && of.in_place)) return nullptr;
    Context& context = contexts_[static_cast<std::size_t>(rank)];
    if (!context) {
      const auto size = static_cast<int>(contexts_.size());
      auto made = std::make_shared<gloo::rendezvous::Context>(rank, size);
      made->connectFullMesh(*store_, devices_[static_cast<std::size_t>(rank)]);
      context = made;
    }
    return with_type(of.dtype, [&](auto zero) -> SubjectPtr {
      return std::make_unique<GlooSubject<decltype(zero)>>(context, of, rank);
    });
  }

 private:
  /// One for each rank, as each process would have one.
  static std::shared_ptr<gloo::transport::Device> make_device() {
    return gloo::transport::tcp::CreateDevice(gloo::transport::tcp::attr("127.0.0.1"));
  }

  std::shared_ptr<gloo::rendezvous::HashStore> store_;
  std::vector<std::shared_ptr<gloo::transport::Device>> devices_;
  std::vector<Context> contexts_;
};

}  // namespace

PeerPtr gloo_peer(int ranks) {
  return std::make_unique<GlooPeer>(ranks);
}

}  // namespace gather_perf

#else

namespace gather_perf {

PeerPtr gloo_peer(int) {
  return nullptr;
}

}  // namespace gather_perf

#endif
