// Eviction policies: which graph goes when another is captured.
#pragma once

#include <dpgather/graph/eviction/keep_all.hpp>
#include <dpgather/graph/eviction/least_benefit.hpp>
#include <dpgather/graph/eviction/least_recently_used.hpp>
#include <dpgather/graph/eviction/policy.hpp>
