#include <unordered_map>

#include <doctest/doctest.h>

#include <dpgather/plan/shape_key.hpp>

using dpgather::Forward;
using dpgather::ShapeKey;
using dpgather::Transport;

TEST_CASE("a shape key says what it is") {
  const ShapeKey key{.local_len = 8,
                     .global_len = 32,
                     .transport = Transport::sum_len_all_reduce,
                     .forward = Forward::target_verify,
                     .width = 4,
                     .is_static = true};
  CHECK(key.to_string() == "sum_len target_verify local_len 8 global_len 32 width 4 static");
  CHECK(ShapeKey{}.to_string() == "max_len idle local_len 0 global_len 0 width 1 exact");
  CHECK(key.requests() == 2);
}

TEST_CASE("keys that differ in one field are different keys") {
  const ShapeKey base{.local_len = 8, .global_len = 32, .forward = Forward::decode};
  std::unordered_map<ShapeKey, int> graphs{{base, 0}};
  const auto add = [&](auto change) {
    ShapeKey key = base;
    change(key);
    CHECK(key != base);
    CHECK(key.hash() != base.hash());
    graphs.emplace(key, 0);
  };
  add([](ShapeKey& key) { key.local_len = 9; });
  add([](ShapeKey& key) { key.global_len = 33; });
  add([](ShapeKey& key) { key.transport = Transport::sum_len_all_reduce; });
  add([](ShapeKey& key) { key.forward = Forward::draft_decode; });
  add([](ShapeKey& key) { key.width = 2; });
  add([](ShapeKey& key) { key.is_static = true; });
  CHECK(graphs.size() == 7);
  CHECK(graphs.contains(base));
}

TEST_CASE("keys are ordered by local len first") {
  CHECK(ShapeKey{.local_len = 1, .global_len = 9} < ShapeKey{.local_len = 2, .global_len = 4});
  CHECK(ShapeKey{.local_len = 1, .global_len = 4} < ShapeKey{.local_len = 1, .global_len = 9});
}

TEST_CASE("a v-collective bakes its counts and so fits in no graph") {
  CHECK(dpgather::graph_safe(Transport::max_len));
  CHECK(dpgather::graph_safe(Transport::sum_len_all_reduce));
  CHECK(dpgather::graph_safe(Transport::sum_len_peer_store));
  CHECK(dpgather::graph_safe(Transport::sum_len_hierarchical));
  CHECK_FALSE(dpgather::graph_safe(Transport::sum_len_all_gather_v));
}

TEST_CASE("only MAX_LEN moves equal lens") {
  using dpgather::LenMode;
  CHECK(dpgather::len_mode(Transport::max_len) == LenMode::max_len);
  CHECK(dpgather::len_mode(Transport::sum_len_all_reduce) == LenMode::sum_len);
  CHECK(dpgather::len_mode(Transport::sum_len_all_gather_v) == LenMode::sum_len);
  CHECK(dpgather::name(LenMode::max_len) == "MAX_LEN");
  CHECK(dpgather::name(LenMode::sum_len) == "SUM_LEN");
  CHECK(dpgather::name(Transport::sum_len_all_gather_v) == "sum_len_v");
  CHECK(dpgather::name(Transport::sum_len_peer_store) == "sum_len_peer");
  CHECK(dpgather::name(Transport::sum_len_hierarchical) == "sum_len_hier");
}
