"""step_cost_test.py STEP_COST [MPIRUN]: every contender runs every step, and what is asked is checked. No time is looked at."""

import json
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

PROGRAM = sys.argv[1]
MPIRUN = sys.argv[2] if len(sys.argv) > 2 else None
QUICK = ["--steps", "20", "--passes", "1", "--hidden", "16"]
EVERYWHERE = {"max_len", "sum_len_all_reduce", "sum_len_all_gather_v", "Auto<VolumeRule>", "Auto<MeasuredRule>", "copies, a barrier", "a barrier"}
folder = tempfile.TemporaryDirectory()


def run(ranks, *args):
    command = [MPIRUN, "-np", str(ranks), PROGRAM] if MPIRUN else [PROGRAM, "--ranks", str(ranks)]
    return subprocess.run([*command, *args], capture_output=True, text=True, timeout=200)


def counts_file(ranks, text=None):
    path = Path(folder.name) / "counts.csv"
    head = "live,forward," + ",".join(str(r) for r in range(ranks)) + "\n"
    rows = "".join(f"1,decode,{','.join(str((7 * i + 3 * r) % 5) for r in range(ranks))}\n" for i in range(50))
    path.write_text(head + rows if text is None else text)
    return str(path)


class Runs(unittest.TestCase):
    def test_every_contender_runs_on_made_up_steps_and_on_those_of_a_trace(self):
        for ranks in (1, 2, 3):
            for counts in (None, counts_file(ranks)):
                out = Path(folder.name) / "out.json"
                done = run(ranks, *QUICK, "--json", str(out), *(["--counts", counts] if counts else []))
                self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
                result = json.loads(out.read_text())
                self.assertEqual((result["ranks"], result["steps"], result["of_trace"]), (ranks, 20, counts is not None))
                expected = EVERYWHERE if MPIRUN else EVERYWHERE | {"sum_len_peer_store", "copies between ranks"}
                self.assertEqual(set(result["us_per_step"]), expected)
                for name, line in result["us_per_step"].items():
                    self.assertGreater(line["median"], 0, name)
                    self.assertIn(name, done.stdout)
                # The first step, which fills buffers, the warm-up pass and the other one: each step by one reason.
                self.assertEqual(result["least_time"] + result["within_margin"], 1 + 2 * 20)

    def test_what_cannot_be_measured_is_one_line(self):
        cases = ((["--steps", "0"], None, "--steps"), (["--hidden", "x"], None, "--hidden"), (["--nothing"], None, "--nothing"),
                 (["--counts", "/nowhere/x"], None, "cannot read /nowhere/x"), (["--json", "/nowhere/x"], None, "/nowhere/x"),
                 ([], "live,forward,0\n1,decode,x\n", "'x'"), ([], "live,forward,0,1\n1,decode,1,1\n", "2 ranks"))
        for args, counts, text in cases:
            done = run(1, *args, *(["--counts", counts_file(1, counts)] if counts else []))
            self.assertEqual(done.returncode, 2, done.stdout + done.stderr)
            lines = [line for line in done.stderr.splitlines() if line.startswith("step_cost")]
            self.assertEqual(len(lines), 1, done.stderr)
            self.assertIn(text, lines[0])


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
