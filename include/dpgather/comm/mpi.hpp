// Ranks as processes over MPI: MpiEnvironment, MpiComm, MpiControl. Not part of the umbrella
// header.
#pragma once

#include <dpgather/comm/mpi/api.hpp>
#include <dpgather/comm/mpi/environment.hpp>
#include <dpgather/comm/mpi/mpi_comm.hpp>
#include <dpgather/comm/mpi/mpi_control.hpp>
