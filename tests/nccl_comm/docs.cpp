// The function in docs/nccl.md, word for word, on two ranks.
#include <filesystem>

#include <unistd.h>

#include "nccl_comm/harness.hpp"
#include "nccl_snippet.hpp"

namespace {

using namespace nccl_test;

TEST_CASE("the function in the documentation gathers") {
  const std::string file =
      (std::filesystem::temp_directory_path() / concat("dpgather-doc-", ::getpid())).string();
  on_gpus(2, [&](int rank) {
    const OwnStream stream;
    const Data<float> mine(1 + rank, static_cast<float>(rank), stream), all(3, -1, stream);
    serve(file, rank, {1, 2}, mine.get(), all.get(), stream.get());
    expect(all.read() == std::vector<float>{0, 1, 1}, "what it gathered");
  });
  CHECK(!std::filesystem::exists(file));
}

}  // namespace
