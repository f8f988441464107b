// main of the GPU tests: without a GPU they are skipped, and say why.
#define DOCTEST_CONFIG_IMPLEMENT
#include <cstdio>
#include <cstdlib>
#include <string>

#include <doctest/doctest.h>

#include "gpu/gpus.hpp"

int main(int argc, char** argv) {
  constexpr int skipped = 77;  // for Meson
  // Streams wait for each other in these tests: each needs a queue of its own, and no kernel may be
  // loaded while another stream waits. Before the first CUDA call.
  setenv("CUDA_DEVICE_MAX_CONNECTIONS", "32", 0);
  setenv("CUDA_MODULE_LOADING", "EAGER", 0);
  std::string why;
  if (gpu::devices(&why) == 0) {
    std::printf("skipped: no GPU can be used (%s)\n", why.c_str());
    return skipped;
  }
  return doctest::Context(argc, argv).run();
}
