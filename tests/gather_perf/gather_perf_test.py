"""gather_perf_test.py GATHER_PERF [MPIRUN]: what it measures is right, and what it is asked is checked. No time is looked at."""

import json
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

PROGRAM = sys.argv[1]
MPIRUN = sys.argv[2] if len(sys.argv) > 2 else None
QUICK = ["-n", "2", "-w", "0", "-N", "1"]
COLLECTIVES = ["all_gather", "reduce_scatter", "all_reduce", "all_gather_v", "reduce_scatter_v"]
MODES = ["max_len", "sum_len_all_reduce", "sum_len_all_gather_v", "sum_len_peer_store", "auto"]
folder = tempfile.TemporaryDirectory()


def run(*args, processes=None):
    command = [PROGRAM, *args]
    if processes:
        command = [MPIRUN, "-np", str(processes), *command]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def measure(*args, processes=None):
    path = Path(folder.name) / "results.json"
    path.unlink(missing_ok=True)
    done = run(*args, *QUICK, "--json", str(path), processes=processes)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(path.read_text())["results"], done.stdout


def rows_by_hand(spread, total, ranks):
    if spread == "one_hot":
        return [total] + [0] * (ranks - 1)
    if spread == "even":
        return [max(total // ranks, 1)] * ranks
    whole = ranks * (ranks + 1) // 2
    rows = [total * weight // whole for weight in range(1, ranks + 1)]
    for i in range(total - sum(rows)):
        rows[i] += 1
    return rows


class Measures(unittest.TestCase):
    def check_all(self, results, comms, ranks):
        for result in results:
            self.assertEqual(result["wrong"], 0, result)
            self.assertEqual(result["ranks"], ranks)
            self.assertEqual(len(result["rows"]), ranks)
        self.assertEqual({result["comm"] for result in results}, comms)

    def rows_are_as_asked(self, results):
        for result in results:
            if result["what"] in ("gather", "back", "all_gather_v", "reduce_scatter_v"):
                total = sum(result["rows"]) if result["counts"] != "even" else 13
                self.assertEqual(result["rows"], rows_by_hand(result["counts"], total, result["ranks"]), result)

    def test_every_collective_and_mode_gives_the_right_values_at_any_number_of_threads(self):
        for ranks in (1, 2, 3, 5):
            for dtype in ("bf16", "float"):
                size = 13 * 24 * (2 if dtype == "bf16" else 4)
                results, text = measure("-t", str(ranks), "-d", dtype, "-b", str(size), "-e", str(size), "--hidden", "24", "--what",
                                        ",".join(["barrier", *COLLECTIVES, "gather", "back"]), "--counts", "even,linear,one_hot",
                                        "--comm", "thread,copy")
                self.check_all(results, {"thread", "copy"}, ranks)
                self.rows_are_as_asked(results)
                self.assertIn("# Out of bounds values : 0 OK", text)
                of_thread = [r for r in results if r["comm"] == "thread"]
                self.assertEqual({r["mode"] for r in of_thread if r["what"] == "gather"}, set(MODES))
                self.assertEqual({r["in_place"] for r in of_thread if r["what"] == "all_gather_v"}, {False, True})

    def test_hosts_are_told_to_the_mode_that_goes_by_them(self):
        results, _ = measure("-t", "4", "--hosts", "2", "--hidden", "16", "-b", "416", "-e", "416", "--what", "gather,back", "--mode",
                             "sum_len_hierarchical,sum_len_all_gather_v", "--counts", "even,linear,one_hot", "--comm", "thread")
        self.check_all(results, {"thread"}, 4)
        self.assertEqual({(r["mode"], r["hosts"]) for r in results},
                         {("sum_len_hierarchical", 2), ("sum_len_all_gather_v", 2)})

    def test_only_rows_that_exist_are_counted_on_the_wire_where_the_mode_promises_it(self):
        results, _ = measure("-t", "4", "--hidden", "8", "-b", "1600", "-e", "1600", "--what", "gather", "--counts", "one_hot",
                             "--comm", "thread", "--in-place", "0")
        wire = {r["mode"]: r["wire_bytes"] for r in results}
        self.assertEqual(wire["sum_len_all_gather_v"], 1600)
        self.assertEqual(wire["sum_len_peer_store"], 1600)
        self.assertEqual(wire["max_len"], 4 * 1600)

    def test_gloo_agrees_where_it_is_built_in(self):
        done = run("--comm", "gloo", "-t", "2", "--what", ",".join(COLLECTIVES), "-b", "4K", "-e", "4K", "--hidden", "16", *QUICK)
        if "built without it" in done.stderr:
            self.skipTest("built without Gloo")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn("# Out of bounds values : 0 OK", done.stdout)

    def test_a_step_of_a_trace_gives_the_proportions(self):
        path = Path(folder.name) / "counts.csv"
        path.write_text("live,forward,0,1,2\n1,decode,0,0,0\n1,decode,6,0,3\n")
        results, _ = measure("-t", "3", "--what", "gather", "--counts", "trace", "--trace-counts", str(path), "--hidden", "8", "-b",
                             "1440", "-e", "1440", "--comm", "thread")
        self.assertTrue(results)
        for result in results:
            self.assertEqual(result["rows"], [60, 0, 30])

    def test_sizes_grow_by_the_factor_and_carry_suffixes(self):
        results, _ = measure("-t", "2", "--what", "all_gather", "-b", "1K", "-e", "16K", "-f", "4", "--comm", "thread", "--in-place", "0")
        self.assertEqual([r["bytes"] for r in results], [1024, 4096, 16384])


class MeasuresProcesses(Measures):
    def test_processes_and_threads_run_side_by_side(self):
        for ranks in (1, 2, 3):
            results, text = measure("-b", "624", "-e", "624", "--hidden", "24", "--what", ",".join(["barrier", *COLLECTIVES, "gather", "back"]),
                                    "--counts", "even,linear,one_hot", "--comm", "thread,mpi,open_mpi,copy", processes=ranks)
            self.check_all(results, {"thread", "mpi", "open_mpi", "copy"}, ranks)
            self.assertIn("# Out of bounds values : 0 OK", text)

    def test_all_processes_give_up_alike(self):
        for args, text in ((["-t", "3"], "mpirun started 2 processes"), (["--json", "/nowhere/x"], "cannot write /nowhere/x")):
            done = run(*args, processes=2)
            self.assertNotEqual(done.returncode, 0)
            self.assertEqual(done.stderr.count("gather_perf: "), 1, done.stderr)
            self.assertIn(text, done.stderr)


class Refuses(unittest.TestCase):
    def refuses(self, args, *texts):
        done = run(*args)
        self.assertEqual(done.returncode, 2, done.stdout)
        self.assertEqual(done.stdout, "")
        self.assertEqual(len(done.stderr.strip().splitlines()), 1, done.stderr)
        for text in texts:
            self.assertIn(text, done.stderr)

    def test_what_cannot_be_measured_is_one_line_with_the_value_and_the_limit(self):
        self.refuses(["-b", "0"], "minbytes", "0", "1 to")
        self.refuses(["-e", "3X"], "maxbytes")
        self.refuses(["-b", "4M", "-e", "1M"], "1048576", "4194304")
        self.refuses(["-t", "65"], "65", "64")
        self.refuses(["-t", "0"], "0", "1 to 64")
        self.refuses(["--hosts", "3"], "3", "2")
        self.refuses(["--what", "all_gather,x"], "'x' is unknown", "all_gather_v")
        self.refuses(["--mode", "best"], "'best' is unknown", "max_len")
        self.refuses(["-d", "fp16"], "fp16", "must be one of bf16, float")
        self.refuses(["--comm", "mpi"], "mpi", "not started by mpirun")
        self.refuses(["--counts", "trace"], "--trace-counts")
        self.refuses(["--json", "/nowhere/x"], "/nowhere/x")
        self.refuses(["--more"], "--more")

    def test_counts_of_a_trace_are_checked_by_line(self):
        path = Path(folder.name) / "counts.csv"
        ask = ["-t", "2", "--counts", "trace", "--trace-counts", str(path)]
        self.refuses(ask[:-1] + ["/nowhere/x"], "cannot read /nowhere/x")
        for text, *expected in (("", "first line is ''"), ("a,b\n", "first line"), ("live,forward,0\n1,decode,3\n", "1 ranks", "2"),
                                ("live,forward,0,1\n1,decode,3\n", ":2:", "3 cells"), ("live,forward,0,1\n1,decode,3,x\n", ":2:", "'x'"),
                                ("live,forward,0,1\n1,decode,3,-1\n", "'-1'"), ("live,forward,0,1\n1,idle,0,0\n", "no step with rows")):
            path.write_text(text)
            self.refuses(ask, *expected)


class Says(unittest.TestCase):
    def test_lines_name_the_way_and_contenders_without_such_a_call_are_named_once(self):
        _, text = measure("-t", "2", "--what", "gather,back", "--mode", "max_len,sum_len_peer_store", "--comm", "thread", "-b", "1K", "-e", "1K", "--hidden", "16")
        calls = [line.split()[4] for line in text.splitlines() if line.startswith(" ")]
        self.assertEqual(calls.count("max_len"), 1, text)
        self.assertEqual(calls.count("back:max_len"), 1, text)
        self.assertNotIn("left out", text)
        _, text = measure("-t", "2", "--hosts", "2", "--what", "gather,back", "--mode", "max_len,sum_len_peer_store", "--comm", "thread", "-b", "1K", "-e", "1K", "--hidden", "16")
        self.assertEqual(text.count("# left out: thread sum_len_peer_store"), 1, text)
        self.assertEqual(text.count("left out"), 1, text)


class Plots(unittest.TestCase):
    def plot(self, *results):
        svg = Path(folder.name) / "plot.svg"
        svg.unlink(missing_ok=True)
        script = Path(__file__).resolve().parents[2] / "bench" / "plot_gather_perf.py"
        done = subprocess.run([sys.executable, str(script), "--svg", str(svg), *results], capture_output=True, text=True)
        return done, svg

    @unittest.skipIf(shutil.which("gnuplot") is None, "gnuplot is not installed")
    def test_there_is_a_panel_for_each_collective_and_number_of_ranks_and_a_line_for_each_contender(self):
        files = []
        for ranks in (2, 3):
            measure("-t", str(ranks), "--what", "barrier,all_gather,reduce_scatter,gather", "--comm", "thread,copy", "-b", "1K", "-e", "4K")
            files.append(str((Path(folder.name) / "results.json").rename(Path(folder.name) / f"{ranks}.json")))
        done, svg = self.plot(*files)
        self.assertEqual(done.returncode, 0, done.stderr)
        text = svg.read_text()
        for title in ("all_gather, 2 ranks", "all_gather, 3 ranks", "reduce_scatter, 2 ranks", "reduce_scatter, 3 ranks"):
            self.assertEqual(text.count(title), 1, title)
        self.assertEqual((text.count("<title>thread</title>"), text.count("<title>copy</title>")), (4, 4))
        self.assertNotIn("barrier", text)

    def test_a_file_of_something_else_is_refused_by_name(self):
        path = Path(folder.name) / "other.json"
        for text in ("no JSON", "[]", '{"results": []}', "{}", '{"results": 5}', '{"results": [1]}', '{"results": [{"counts": "even"}]}'):
            path.write_text(text)
            done, svg = self.plot(str(path))
            self.assertEqual(done.returncode, 1)
            self.assertRegex(done.stderr, r"^plot_gather_perf: .*other\.json")
            self.assertEqual(done.stderr.count("\n"), 1)
            self.assertFalse(svg.exists())


if __name__ == "__main__":
    if MPIRUN is None:
        suite = [unittest.defaultTestLoader.loadTestsFromTestCase(case) for case in (Refuses, Measures, Says, Plots)]
    else:  # what Measures has is of threads alone
        suite = [MeasuresProcesses(name) for name in vars(MeasuresProcesses) if name.startswith("test_")]
    sys.exit(0 if unittest.TextTestRunner(verbosity=2).run(unittest.TestSuite(suite)).wasSuccessful() else 1)
