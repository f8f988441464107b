#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include <doctest/doctest.h>

#include <dpgather/agree/agreement.hpp>

#include "support/allocations.hpp"
#include "support/ranks.hpp"

using namespace dpgather;
using test::expect;

namespace {

Phase decode(std::int64_t n) {
  return {.tokens = n, .requests = n, .logits = n, .forward = n ? Forward::decode : Forward::idle};
}
Phase extend(std::int64_t tokens, std::int64_t requests) {
  return {.tokens = tokens, .requests = requests, .logits = requests, .forward = Forward::extend};
}

/// What each rank's `wait` throws, as the detail that must be the same everywhere.
template <class E, class Post>
std::vector<std::string> failures(const DpLayout& layout, Post post) {
  std::vector<std::string> details(static_cast<std::size_t>(layout.world()), "no error");
  test::on_ranks(layout, [&](test::Rank& rank) {
    post(rank);
    try {
      (void)rank.agreement.wait();
    } catch (const E& error) {
      details[static_cast<std::size_t>(rank.rank())] = error.detail();
      expect(error.rank() == rank.rank() && error.step() >= 0,
             "the error does not say rank and step");
    }
  });
  return details;
}
template <class E, class Post>
void all_fail_alike(const DpLayout& layout, const std::string& part, Post post) {
  const auto details = failures<E>(layout, post);
  for (const auto& detail : details) {
    CHECK(detail == details[0]);
    CHECK(detail.find(part) != std::string::npos);
  }
}

}  // namespace

TEST_CASE("every rank learns the counts of all ranks") {
  for (const auto layout : {DpLayout{1, 1}, DpLayout{2, 1}, DpLayout{3, 2}, DpLayout{8, 1}})
    test::on_ranks(layout, [](test::Rank& rank) {
      for (int i = 0; i < 20; ++i) {
        const auto count = [&](int dp) { return std::int64_t{dp == 1 ? 0 : dp * 100 + i}; };
        const Step step = rank.agree(decode(count(rank.dp())));
        expect(step.index() == i && step.phases() == 1, "step ", step.index());
        for (int d = 0; d < rank.layout.dp; ++d) {
          const auto at = static_cast<std::size_t>(d);
          expect(step.tokens()[at] == count(d) && step.logits()[at] == count(d) &&
                     step.requests()[at] == count(d),
                 "counts of DP rank ", d);
        }
        expect(step.own_tokens() == count(rank.dp()), "own count");
      }
    });
}

TEST_CASE("the forward mode of a step combines those of its ranks") {
  test::on_ranks({.dp = 3}, [](test::Rank& rank) {
    const int r = rank.rank();
    const Step mixed = rank.agree(r == 0 ? decode(4) : r == 1 ? extend(9, 2) : decode(0));
    expect(mixed.forward() == Forward::mixed && !mixed.can_graph(),
           "decode + extend + idle is mixed");
    expect(mixed.own_forward() == (r == 0   ? Forward::decode
                                   : r == 1 ? Forward::extend
                                            : Forward::idle),
           "own forward");
    const Step decoding = rank.agree(r == 0 ? decode(0) : decode(2));
    expect(decoding.forward() == Forward::decode && decoding.can_graph(), "idle joins decode");
    const Step nobody = rank.agree(decode(0));
    expect(nobody.forward() == Forward::idle && nobody.can_graph() && nobody.width() == 1,
           "all idle");
    const Step verify = rank.agree(r == 2 ? decode(0)
                                          : Phase{.tokens = 12,
                                                  .requests = 3,
                                                  .logits = 12,
                                                  .forward = Forward::target_verify,
                                                  .width = 4});
    expect(verify.forward() == Forward::target_verify && verify.width() == 4,
           "width is that of the ranks with rows");
  });
}

TEST_CASE("one rank's vote makes the step eager for all") {
  test::on_ranks({.dp = 3}, [](test::Rank& rank) {
    Phase phase = decode(2);
    phase.can_graph = rank.rank() != 1;
    expect(!rank.agree(phase).can_graph(), "the vote was lost");
    expect(rank.agree(decode(2)).can_graph(), "the vote stuck");
  });
}

TEST_CASE("draft, verify and extend of one step are agreed at once") {
  test::on_ranks({.dp = 2}, [](test::Rank& rank) {
    const std::int64_t n = rank.rank() + 1;
    const Phase phases[] = {
        {.tokens = n * 8, .requests = n, .forward = Forward::draft_decode, .width = 8},
        {.tokens = n * 4,
         .requests = n,
         .logits = n * 4,
         .forward = Forward::target_verify,
         .width = 4},
        {.tokens = n * 3,
         .requests = n,
         .logits = n,
         .forward = Forward::draft_extend,
         .width = 3}};
    rank.agreement.post(phases);
    const Step step = rank.agreement.wait();
    expect(step.phases() == 3 && step.width(0) == 8 && step.width(2) == 3, "phases");
    expect(step.tokens(1)[0] == 4 && step.tokens(1)[1] == 8 && step.logits(0)[1] == 0,
           "counts by phase");
    try {
      (void)step.tokens(3);
      expect(false, "phase 3 does not exist");
    } catch (const InvalidArgument&) {
    }
  });
}

TEST_CASE("user bytes of each rank reach all ranks") {
  test::on_ranks({.dp = 2, .attn_tp = 2}, [](test::Rank& rank) {
    UserBytes mine{};
    mine[0] = std::byte(40 + rank.rank());
    rank.agreement.post(decode(1), mine);
    const Step step = rank.agreement.wait();
    for (int r = 0; r < 4; ++r)
      expect(step.user(r)[0] == std::byte(40 + r), "user bytes of rank ", r);
  });
}

TEST_CASE("a rank that failed makes every rank throw its reason, and the next step works") {
  test::on_ranks({.dp = 3}, [](test::Rank& rank) {
    if (rank.rank() == 2)
      rank.agreement.post_failure("sampling ran out of memory");
    else
      rank.agreement.post(decode(1));
    std::string text;
    try {
      (void)rank.agreement.wait();
    } catch (const PeerError& error) {
      text = error.what();
    }
    expect(text == concat("[rank ", rank.rank(),
                          ", step 0, agreement] rank 2 failed: sampling ran out of memory"),
           text);
    expect(rank.agree(decode(5)).index() == 1, "the next step");
  });
}

TEST_CASE("a phase that cannot be fails on every rank with value and limit") {
  const auto on_rank_1 = [](const Phase& bad) {
    return [bad](test::Rank& rank) { rank.agreement.post(rank.rank() == 1 ? bad : decode(1)); };
  };
  const DpLayout three{.dp = 3};
  all_fail_alike<PeerError>(three, "rank 1 failed: tokens is -1, must be 0 to 2147483647",
                            on_rank_1({.tokens = -1, .forward = Forward::extend}));
  all_fail_alike<PeerError>(three, "requests is 2147483648",
                            on_rank_1({.requests = max_rows + 1, .forward = Forward::extend}));
  all_fail_alike<PeerError>(three, "an idle rank posts 1 tokens", on_rank_1({.tokens = 1}));
  all_fail_alike<PeerError>(three, "decode has 3 tokens, must be requests 2 * width 1",
                            on_rank_1({.tokens = 3, .requests = 2, .forward = Forward::decode}));
  all_fail_alike<PeerError>(three, "width is 0",
                            on_rank_1({.forward = Forward::decode, .width = 0}));
  all_fail_alike<PeerError>(three, "forward mode is 99", on_rank_1({.forward = Forward(99)}));
  all_fail_alike<PeerError>(three, "5 phases posted, must be 1 to 4", [](test::Rank& rank) {
    const std::vector<Phase> phases(rank.rank() == 0 ? 5 : 1);
    rank.agreement.post(phases);
  });
}

TEST_CASE("draft extend may have fewer rows than its slots, never more") {
  test::on_ranks({.dp = 2}, [](test::Rank& rank) {
    const Step step =
        rank.agree({.tokens = 5, .requests = 3, .forward = Forward::draft_extend, .width = 4});
    expect(step.tokens()[0] == 5 && step.width() == 4, "accepted rows");
  });
  all_fail_alike<PeerError>({.dp = 2}, "draft_extend has 13 tokens", [](test::Rank& rank) {
    rank.agreement.post(
        {.tokens = 12 + rank.rank(), .requests = 3, .forward = Forward::draft_extend, .width = 4});
  });
}

TEST_CASE("ranks that differ in what they run are told so, all with the same words") {
  all_fail_alike<DivergenceError>(
      {.dp = 2}, "policy fingerprint differs: rank 0 has", [](test::Rank& rank) {
        rank.agreement.set_policy(static_cast<std::uint64_t>(rank.rank()));
        rank.agreement.post(decode(1));
      });
  all_fail_alike<DivergenceError>(
      {.dp = 2}, "number of phases differs: rank 0 has 1, rank 1 has 2", [](test::Rank& rank) {
        const std::vector<Phase> phases(static_cast<std::size_t>(rank.rank() + 1));
        rank.agreement.post(phases);
      });
  all_fail_alike<DivergenceError>(
      {.dp = 2},
      "forward modes cannot share a step: decode before rank 1, which is in target_verify",
      [](test::Rank& rank) {
        rank.agreement.post(
            rank.rank() == 0
                ? decode(1)
                : Phase{.tokens = 2, .requests = 1, .forward = Forward::target_verify, .width = 2});
      });
  all_fail_alike<DivergenceError>(
      {.dp = 2}, "width differs: rank 0 has 2, rank 1 has 3", [](test::Rank& rank) {
        const int width = 2 + rank.rank();
        rank.agreement.post(
            {.tokens = width, .requests = 1, .forward = Forward::target_verify, .width = width});
      });
  all_fail_alike<DivergenceError>(
      {.dp = 2, .attn_tp = 2}, "attention-TP ranks 2 and 3 of one DP rank disagree: 7 tokens",
      [](test::Rank& rank) { rank.agreement.post(decode(rank.rank() == 3 ? 6 : 7)); });
}

TEST_CASE("a rank that ends a capture while another posts a step is a divergence, not a hang") {
  const auto board = std::make_shared<ThreadControlBoard>(2);
  std::mutex mutex;
  std::vector<std::string> details;
  run_ranks(2, [&](int rank) {
    ThreadControl control(board, rank);
    StepAgreement agreement(control, {.dp = 2});
    agreement.post(decode(1));
    (void)agreement.wait();
    // Rank 1 ends a capture while rank 0 posts the next step.
    try {
      if (rank == 1) {
        (void)agreement.confirm(true);
      } else {
        agreement.post(decode(1));
        (void)agreement.wait();
      }
    } catch (const DivergenceError& error) {
      const std::lock_guard lock(mutex);
      details.push_back(error.detail());
    }
  });
  REQUIRE(details.size() == 2);
  CHECK(details[0] == "rank 0 posts a step, rank 1 ends a capture");
  CHECK(details[1] == details[0]);
}

TEST_CASE("a rank that posted ahead before a capture ended, and one that did not, are told") {
  std::vector<std::string> details(2);
  CHECK_THROWS_AS(test::on_ranks({.dp = 2},
                                 [&](test::Rank& rank) {
                                   (void)rank.agree(decode(1));
                                   if (rank.rank() == 0) rank.agreement.post(decode(1));
                                   try {
                                     (void)rank.agreement.confirm(true);
                                   } catch (const DivergenceError& error) {
                                     details[static_cast<std::size_t>(rank.rank())] =
                                         error.detail();
                                     throw;
                                   }
                                 }),
                  DivergenceError);
  CHECK(details[0] == "rank 0 posts a step, rank 1 ends a capture");
  CHECK(details[1] == details[0]);
}

TEST_CASE("after a divergence all ranks can go on, also those that had posted ahead") {
  test::on_ranks({.dp = 3}, [](test::Rank& rank) {
    (void)rank.agree(decode(1));
    if (rank.rank() == 0) rank.agreement.post(decode(1));
    try {
      (void)rank.agreement.confirm(true);
      expect(false, "no divergence");
    } catch (const DivergenceError&) {
    }
    try {
      (void)rank.agreement.wait();
      expect(false, "the step that was posted ahead is still there");
    } catch (const InvalidArgument&) {
    }
    expect(rank.agree(decode(1)).index() == 1, "the next step");
  });
}

TEST_CASE("the end of a capture is agreed: one no is a no for all, with its reason") {
  test::on_ranks({.dp = 3}, [](test::Rank& rank) {
    (void)rank.agree(decode(1));
    expect(rank.agreement.confirm(true).ok, "all said yes");
    const auto refused = rank.agreement.confirm(rank.rank() != 1, "stream was invalidated");
    expect(!refused.ok && refused.reason == "rank 1 failed: stream was invalidated",
           refused.reason);
    expect(rank.agree(decode(1)).index() == 1, "confirm does not count as a step");
    const auto sized = rank.agreement.confirm(
        {.bytes = rank.rank() == 1 ? 900u : 5u, .latest_bytes = rank.rank() == 2 ? 70u : 0u});
    expect(sized.ok && sized.bytes == 900 && sized.latest_bytes == 70, "the most of any rank");
    try {
      (void)rank.agreement.confirm(true, {}, rank.rank() == 2 ? 8u : 7u);
      expect(false, "different keys were accepted");
    } catch (const DivergenceError& error) {
      expect(error.detail() == "ranks 0 and 2 captured different keys, of hash 7 and 8",
             error.detail());
    }
  });
}

TEST_CASE("step n runs while step n + 1 is agreed, also when step n captures") {
  test::on_ranks({.dp = 2}, [](test::Rank& rank) {
    rank.agreement.post(decode(10));
    Step now = rank.agreement.wait();
    for (int i = 1; i < 20; ++i) {
      rank.agreement.post(decode(10 + i * (rank.rank() + 1)));
      if (i % 3 == 0) expect(rank.agreement.confirm(true).ok, "confirm between post and wait");
      expect(now.index() == i - 1, "the running step stays valid");
      const Step next = rank.agreement.wait();
      expect(now.tokens()[1] == 10 + (i - 1) * 2 && next.tokens()[1] == 10 + i * 2, "counts");
      now = next;
    }
  });
}

TEST_CASE("a step that is too old says so instead of showing another step's counts") {
  test::on_ranks({.dp = 2}, [](test::Rank& rank) {
    const Step old = rank.agree(decode(1));
    (void)rank.agree(decode(2));
    (void)rank.agree(decode(3));
    expect(old.tokens()[0] == 1, "valid until the second wait after it");
    (void)rank.agree(decode(4));
    try {
      (void)old.tokens();
      expect(false, "an old step was read");
    } catch (const InvalidArgument& error) {
      expect(error.detail().find("too old") != std::string::npos, error.detail());
    }
  });
  CHECK_THROWS_WITH_AS((void)Step().index(), doctest::Contains("empty"), InvalidArgument);
}

TEST_CASE("post and wait alternate") {
  test::on_ranks({.dp = 1}, [](test::Rank& rank) {
    try {
      (void)rank.agreement.wait();
      expect(false, "wait without post");
    } catch (const InvalidArgument&) {
    }
    rank.agreement.post(decode(1));
    try {
      rank.agreement.post(decode(1));
      expect(false, "two posts");
    } catch (const InvalidArgument&) {
    }
    (void)rank.agreement.wait();
  });
}

TEST_CASE("a long reason is cut with dots, and errors of the control plane say which step") {
  test::on_ranks({.dp = 2}, [](test::Rank& rank) {
    const std::string reason(1000, 'x');
    if (rank.rank() == 1)
      rank.agreement.post_failure(reason);
    else
      rank.agreement.post(decode(1));
    try {
      (void)rank.agreement.wait();
      expect(false, "no error");
    } catch (const PeerError& error) {
      expect(error.detail().size() > 300 && error.detail().ends_with("xxx..."), error.detail());
    }
  });
  CHECK_THROWS_WITH_AS(test::on_ranks({.dp = 2},
                                      [](test::Rank& rank) {
                                        (void)rank.agree(decode(1));
                                        if (rank.rank() == 1) return;
                                        (void)rank.agree(decode(1));
                                      }),
                       doctest::Contains("[rank 0, step 1, agreement]"), PeerError);
}

TEST_CASE("a rank that leaves before it posts frees the others") {
  CHECK_THROWS_WITH_AS(test::on_ranks({.dp = 2},
                                      [](test::Rank& rank) {
                                        if (rank.rank() == 1) return;
                                        (void)rank.agree(decode(1));
                                      }),
                       doctest::Contains("rank 1 left"), PeerError);
}

TEST_CASE("a rank that gives up frees peers that ask in passing, with its reason") {
  std::atomic<int> asked{0};
  test::on_ranks({.dp = 3}, [&asked](test::Rank& rank) {
    (void)rank.agree(decode(1));
    rank.agreement.check();  // nothing has failed
    ++asked;
    while (asked < 3) std::this_thread::yield();
    if (rank.rank() == 1) rank.agreement.abort("the GPU fell off the bus");
    for (;;) {
      try {
        rank.agreement.check();
        std::this_thread::yield();
      } catch (const PeerError& error) {
        expect(error.detail().find("rank 1 aborted: the GPU fell off the bus") != std::string::npos,
               error.detail());
        return;
      }
    }
  });
}

TEST_CASE("the control plane must have the ranks of the layout") {
  const auto board = std::make_shared<ThreadControlBoard>(1);
  ThreadControl control(board, 0);
  CHECK_THROWS_WITH_AS(StepAgreement(control, {.dp = 2}),
                       doctest::Contains("the control plane has 1 ranks, the layout 2"),
                       InvalidArgument);
}

TEST_CASE("a step is agreed without allocating") {
  test::on_ranks({.dp = 2}, [](test::Rank& rank) {
    for (int i = 0; i < 4; ++i) (void)rank.agree(decode(i));
    const auto before = support::allocations_of_this_thread();
    for (int i = 0; i < 50; ++i) (void)rank.agree(decode(i));
    const auto count = support::allocations_of_this_thread() - before;
    expect(count == 0, count, " allocations");
  });
}
