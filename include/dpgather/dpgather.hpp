// Umbrella: everything that a host compiler can build with the standard library alone. MPI lives in
// <dpgather/comm/mpi.hpp>.
#pragma once

#include <dpgather/agree/agreement.hpp>
#include <dpgather/comm/callable_control.hpp>
#include <dpgather/comm/shared_memory_control.hpp>
#include <dpgather/comm/thread.hpp>
#include <dpgather/dp_gather.hpp>
#include <dpgather/exchange/cost_setup.hpp>
#include <dpgather/exchange/measured_rule.hpp>
#include <dpgather/exchange/valid_rows.hpp>
#include <dpgather/graph_cache.hpp>
#include <dpgather/measure_transports.hpp>
#include <dpgather/padded_batch.hpp>
#include <dpgather/plan/fit_cost.hpp>
#include <dpgather/tune/retuned_sizes.hpp>
#include <dpgather/tune/size_tuner.hpp>
#include <dpgather/tune/spread.hpp>
