#include "launcher.hpp"

#include <cstdlib>
#include <string_view>

namespace serve_trace {

bool speaks_for_host() {
  // Open MPI, MPICH's Hydra, Slurm; the last two have no rank on the host.
  for (const char* variable :
       {"OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID", "SLURM_LOCALID", "PMIX_RANK", "PMI_RANK"})
    if (const char* rank = std::getenv(variable)) return std::string_view(rank) == "0";
  return true;
}

}  // namespace serve_trace
