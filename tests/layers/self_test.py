"""The arrow test must find each kind of violation: trees that break one rule each."""

import pathlib
import tempfile
import unittest

from check_layers import MAX_LINES, check

GOOD = {
    "core/rows.hpp": ["cstdint", "sys/mman.h"],
    "plan/plan.hpp": ["vector", "dpgather/core/rows.hpp"],
    "comm/communicator.hpp": ["dpgather/core/rows.hpp"],
    "comm/thread/hub.hpp": ["dpgather/comm/communicator.hpp"],
    "comm/mpi/api.hpp": ["mpi.h", "dpgather/comm/communicator.hpp"],
    "comm/mpi.hpp": ["dpgather/comm/mpi/api.hpp"],
    "agree/step.hpp": ["dpgather/plan/plan.hpp", "dpgather/comm/communicator.hpp"],
    "pad/pad.hpp": ["dpgather/plan/plan.hpp"],
    "dp_gather.hpp": ["dpgather/agree/step.hpp", "dpgather/pad/pad.hpp"],
    "dpgather.hpp": ["dpgather/dp_gather.hpp", "dpgather/comm/thread/hub.hpp"],
}


def found_in(changes):
    """Violations of the good tree with some headers replaced or added."""
    with tempfile.TemporaryDirectory() as folder:
        for name, content in {**GOOD, **changes}.items():
            if content is None:
                continue
            path = pathlib.Path(folder, "dpgather", name)
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, list):
                content = "#pragma once\n" + "".join(f"#include <{i}>\n" for i in content)
            path.write_text(content)
        return check(folder)


class CheckLayers(unittest.TestCase):
    def finds(self, text, changes):
        found = found_in(changes)
        self.assertTrue(any(text in line for line in found), f"'{text}' not in {found}")

    def test_a_good_tree_passes(self):
        self.assertEqual(found_in({}), [])
        self.assertEqual(found_in({"cost_file.hpp": ["nlohmann/json.hpp"]}), [])

    def test_a_later_layer_is_found(self):
        self.finds("layer 'core' includes 'plan'", {"core/rows.hpp": ["dpgather/plan/plan.hpp"]})
        self.finds("layer 'plan' includes 'agree'", {"plan/x.hpp": ["dpgather/agree/step.hpp"]})
        self.finds("layer 'agree' includes 'top level'", {"agree/x.hpp": ["dpgather/dp_gather.hpp"]})

    def test_a_neighbour_layer_is_found(self):
        self.finds("layer 'plan' includes 'comm'", {"plan/x.hpp": ["dpgather/comm/communicator.hpp"]})
        self.finds("layer 'comm' includes 'plan'", {"comm/thread/hub.hpp": ["dpgather/plan/plan.hpp"]})
        self.finds("layer 'tune' includes 'graph'", {"tune/x.hpp": ["dpgather/graph/y.hpp"], "graph/y.hpp": []})
        self.finds("layer 'pad' includes 'agree'", {"pad/pad.hpp": ["dpgather/agree/step.hpp"]})

    def test_an_unknown_folder_is_found(self):
        self.finds("'extra' is no layer", {"extra/x.hpp": []})

    def test_a_second_user_of_mpi_or_nccl_is_found(self):
        self.finds("<mpi.h> is included by", {"comm/x.hpp": ["mpi.h"]})
        self.finds("<nlohmann/json.hpp> is included by", {"a.hpp": ["nlohmann/json.hpp"], "b.hpp": ["nlohmann/json.hpp"]})
        self.finds("<mpi.h> is included by no header", {"comm/mpi/api.hpp": []})
        self.finds("<nccl.h> is included by", {"comm/x.hpp": ["nccl.h"], "comm/y.hpp": ["nccl.h"]})

    def test_a_second_user_of_cuda_is_found(self):
        self.assertEqual(found_in({"core/cuda/api.hpp": ["cuda.h", "cuda_runtime_api.h"]}), [])
        self.finds("<cuda.h> is included by", {"core/x.hpp": ["cuda.h"], "core/y.hpp": ["cuda.h"]})
        self.finds("which needs MPI, NCCL, CUDA or a library", {"dp_gather.hpp": ["nlohmann/json.hpp"]})
        self.finds("needs MPI, NCCL, CUDA or a library", {"core/rows.hpp": ["cuda_runtime_api.h"]})

    def test_the_umbrella_must_reach_all_but_mpi_and_nccl(self):
        self.finds("reaches dpgather/comm/mpi/api.hpp", {"dp_gather.hpp": ["dpgather/comm/mpi.hpp"]})
        self.finds("does not reach dpgather/pad/x.hpp", {"pad/x.hpp": []})
        self.finds("does not exist", {"dpgather.hpp": None})
        self.finds("includes the umbrella", {"dp_gather.hpp": ["dpgather/dpgather.hpp"]})

    def test_device_libraries_are_for_cuh_only(self):
        self.finds("which only a .cuh may", {"pad/pad.hpp": ["thrust/scan.h"]})
        self.finds("which only a .cuh may", {"pad/pad.hpp": ["cub/cub.cuh"]})
        self.finds("a host header includes", {"pad/x.cuh": [], "pad/pad.hpp": ["dpgather/pad/x.cuh"]})
        self.assertEqual(found_in({"pad/x.cuh": ["cub/cub.cuh"]}), [])

    def test_foreign_and_relative_includes_are_found(self):
        self.finds("neither standard nor POSIX", {"pad/pad.hpp": ["fmt/format.h"]})
        self.finds("by a relative path", {"pad/x.hpp": '#pragma once\n#include "pad.hpp"\n'})
        self.finds("which does not exist", {"pad/pad.hpp": ["dpgather/pad/gone.hpp"]})

    def test_an_include_in_a_comment_does_not_count(self):
        text = "#pragma once\n// #include <mpi.h>\n/*\n#include <thrust/scan.h>\n*/\n"
        self.assertEqual(found_in({"core/rows.hpp": text}), [])

    def test_indented_includes_count(self):
        self.finds("layer 'core'", {"core/rows.hpp": "#pragma once\n  #  include <dpgather/plan/plan.hpp>\n"})

    def test_form_is_checked(self):
        self.finds("lines, at most", {"pad/pad.hpp": "#pragma once\n" + "\n" * MAX_LINES})
        self.finds("has no #pragma once", {"pad/pad.hpp": "\n"})
        self.finds("neither .hpp nor .cuh", {"pad/pad.h": "#pragma once\n"})

    def test_a_circle_is_found(self):
        self.finds("leads back to it", {"pad/x.hpp": ["dpgather/pad/y.hpp"], "pad/y.hpp": ["dpgather/pad/x.hpp"]})


if __name__ == "__main__":
    unittest.main()
