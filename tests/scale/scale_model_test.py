"""scale_model_test.py BENCH_DIR: the model's formulas against values computed by hand, and what must hold of any."""

import json
import random
import subprocess
import sys
import tempfile
import unittest
from dataclasses import replace
from pathlib import Path

BENCH = sys.argv.pop(1)
sys.path.insert(0, BENCH)
from common.bad_input import BadInput  # noqa: E402
from scale.costs import Collectives, Link, link_at, tree_messages  # noqa: E402
from scale.cross_over import cross_overs, skewed  # noqa: E402
from scale.fit import calibrate, compare, least_squares, spread  # noqa: E402
from scale.machine import Machine, machine  # noqa: E402
from scale.modes import MODES, best, rows_moved, seconds, step_seconds  # noqa: E402

# Powers of two, so that sums are exact: 1 s a message and 1/4 s a byte inside, 16 s and 2 s between, 1/8 s to add a byte.
M = Machine(inside=Link(1, 0.25), between=Link(16, 2), gamma=0.125, host_size=4, cards=4)
ALL = [(mode, how) for mode, ways in MODES.items() for how in ways]


def simulated_tree(blocks):
    """Bruck's all-gather played with sets: the largest message of each round."""
    ranks, held, largest, distance = len(blocks), [{rank} for rank in range(len(blocks))], [], 1
    while distance < ranks:
        sent = [held[(rank + distance) % ranks] - held[rank] for rank in range(ranks)]
        largest.append(max(sum(blocks[b] for b in message) for message in sent))
        held = [have | message for have, message in zip(held, sent)]
        distance *= 2
    assert all(len(have) == ranks for have in held)
    return largest


class Formulas(unittest.TestCase):
    def test_by_hand_inside_a_host(self):
        at4, even = Collectives(M, 4), [8] * 4
        self.assertEqual(at4.all_gather("ring", even), 3 * 1 + 24 * 0.25)
        self.assertEqual(at4.all_gather("tree", even), 2 * 1 + 24 * 0.25)
        self.assertEqual(at4.reduce_scatter("ring", even), 3 * 1 + 24 * 0.375)
        self.assertEqual(at4.reduce_scatter("tree", even), 2 * 1 + 24 * 0.375)
        self.assertEqual(at4.all_reduce("ring", 32), 6 * 1 + 48 * 0.25 + 24 * 0.125)
        # Of 32 bytes by halves and back 4 + 12 + 3 = 19 s, whole ones twice 2 + 64 * 0.375 = 26 s; of 4 bytes 6.125 and 5.
        self.assertEqual(at4.all_reduce("tree", 32), 19)
        self.assertEqual(at4.all_reduce("tree", 4), 5)

    def test_by_hand_ragged(self):
        blocks = [8, 0, 4, 0]
        self.assertEqual(Collectives(M, 4).all_gather("ring", blocks), 3 + 12 * 0.25)
        self.assertEqual(Collectives(M, 4).all_gather("tree", blocks), 2 + (8 + 8) * 0.25)
        # Two barriers of two rounds; rank 0 stores its 8 bytes thrice.
        self.assertEqual(seconds(M, "sum_len_peer_store", "stores", blocks, False), 4 + 24 * 0.25)
        self.assertEqual(seconds(M, "sum_len_peer_store", "stores", blocks, True), 4 + 24 * 0.375)

    def test_by_hand_between_hosts(self):
        at8 = Collectives(M, 8)
        self.assertEqual(at8.all_gather("ring", [8] * 8), 7 * 16 + 56 * 2)
        # Lanes of 2 ranks first: 16 + 8 * 2, then rings of 4 with 16 bytes each.
        self.assertEqual(at8.all_gather("two_level", [8] * 8), 32 + 3 + 48 * 0.25)
        self.assertEqual(at8.all_reduce("two_level", 64), (6 + 96 * 0.25 + 48 * 0.125) + min(32 + 32 + 1, 16 + 16 * 2.125))
        # Members store 24 bytes, leaders exchange 32, members pull 64 each; three barriers of two rounds.
        self.assertEqual(seconds(M, "sum_len_hierarchical", "ring", [8] * 8, False), 6 + 16 + 64 + (24 + 192) * 0.25)
        self.assertEqual(seconds(M, "sum_len_hierarchical", "ring", [8] * 8, True),
                         8 + (16 + 32 * 2.125) + 3 * 16 * (0.5 + 0.125) + 24 * 0.25)

    def test_ranks_of_a_host_share_its_cards(self):
        shared = replace(M, cards=2)
        self.assertEqual(link_at(shared, 8, 1).beta, 2)
        self.assertEqual(link_at(shared, 8, 4).beta, 4)
        self.assertEqual(link_at(shared, 4, 2), M.inside)

    def test_messages_of_a_tree_are_those_of_the_algorithm_played(self):
        rng = random.Random(7)
        print("seed 7")
        for ranks in list(range(1, 20)) + [64, 100]:
            for blocks in ([3] * ranks, [rng.choice([0, rng.randrange(1000)]) for _ in range(ranks)]):
                self.assertEqual([size for _, size in tree_messages(blocks)], simulated_tree(blocks), blocks)


class Holds(unittest.TestCase):
    def test_one_rank_moves_nothing(self):
        for mode, how in ALL:
            if mode != "sum_len_hierarchical":
                self.assertEqual(step_seconds(M, mode, how, [100], 2), 0)

    def test_more_bytes_and_more_ranks_take_longer(self):
        for mode, how in ALL:
            for back in (False, True):
                for ranks in (2, 4, 8, 64, 4096):
                    times = [seconds(M, mode, how, [size] * ranks, back) for size in (1, 2, 64, 4096)]
                    if None not in times:
                        self.assertEqual(times, sorted(set(times)), (mode, how, ranks))
                times = [seconds(M, mode, how, [64] * ranks, back) for ranks in (2, 3, 4, 8, 12, 16, 64, 512, 4096)]
                times = [time for time in times if time is not None]
                self.assertEqual(times, sorted(set(times)), (mode, how, back))

    def test_even_counts_move_and_take_the_same_with_max_len_and_all_gather_v(self):
        for ranks in (2, 4, 8, 64):
            self.assertEqual(rows_moved("max_len", [5] * ranks), rows_moved("sum_len_all_gather_v", [5] * ranks))
            for how in MODES["max_len"]:
                self.assertEqual(step_seconds(M, "max_len", how, [5] * ranks, 2),
                                 step_seconds(M, "sum_len_all_gather_v", how, [5] * ranks, 2))

    def test_ragged_counts_never_take_longer_than_all_as_long_as_the_longest(self):
        rng = random.Random(11)
        print("seed 11")
        for _ in range(200):
            counts = [rng.randrange(50) for _ in range(rng.choice([2, 3, 4, 8, 16, 64]))]
            for how in MODES["max_len"]:
                self.assertLessEqual(step_seconds(M, "sum_len_all_gather_v", how, counts, 2),
                                     step_seconds(M, "max_len", how, counts, 2) * (1 + 1e-12))

    def test_on_one_host_two_levels_are_the_ring(self):
        rng = random.Random(5)
        for ranks in (1, 2, 3, 4):
            blocks, one = [rng.randrange(99) for _ in range(ranks)], Collectives(M, ranks)
            self.assertEqual(one.all_gather("two_level", blocks), one.all_gather("ring", blocks))
            self.assertEqual(one.reduce_scatter("two_level", blocks), one.reduce_scatter("ring", blocks))
            self.assertEqual(one.all_reduce("two_level", 96), one.all_reduce("ring", 96))

    def test_modes_go_where_memory_is(self):
        self.assertIsNone(best(M, "sum_len_peer_store", [1] * 8, 2))
        self.assertIsNone(best(M, "sum_len_hierarchical", [1] * 4, 2))
        self.assertEqual(best(M, "max_len", [0] * 4, 2)[0], 0)

    def test_the_ffn_computes_the_rows_of_the_global_buffer(self):
        ffn = replace(M, ffn_row=64)
        for mode, rows in (("max_len", 12), ("sum_len_all_gather_v", 6)):
            self.assertEqual(step_seconds(ffn, mode, "ring", [1, 4, 1], 2) - step_seconds(M, mode, "ring", [1, 4, 1], 2), 64 * rows)

    def test_where_modes_cross_they_take_as_long(self):
        modes = ["max_len", "sum_len_all_reduce"]
        crossings = 0
        for skew, runs in cross_overs(machine({"inside": {"alpha": 1e-6, "beta": 1e-9}, "between": {"alpha": 1, "beta": 1}}), 8, modes):
            for (_, before), (size, after) in zip(runs, runs[1:]):
                times = [best(machine({"inside": {"alpha": 1e-6, "beta": 1e-9}, "between": {"alpha": 1, "beta": 1}}), mode,
                              skewed(8, size, skew), 1)[0] for mode in (before, after)]
                self.assertLess(abs(times[0] / times[1] - 1), 0.03, (skew, size))
                crossings += 1
        self.assertGreater(crossings, 0)


class Fit(unittest.TestCase):
    def write(self, results):
        file = tempfile.NamedTemporaryFile("w", suffix=".json", delete=False)
        self.addCleanup(Path(file.name).unlink)
        with file:
            json.dump({"machine": {}, "results": results}, file)
        return file.name

    def result(self, what, mode, counts, total, of=None):
        blocks = spread(counts, total, 4)
        back = what in ("back", "reduce_scatter")
        time = seconds(of or M, mode, MODES[mode][0], blocks, back)
        return {"comm": "thread", "what": what, "mode": mode, "counts": counts, "ranks": 4, "bytes": total, "time_us": time * 1e6}

    def test_parameters_come_back_from_times_made_by_them(self):
        made = [self.result(what, "max_len", "even", total) for what in ("all_gather", "back", "reduce_scatter")
                for total in (4, 64, 1024, 65536)]
        other = replace(M, inside=Link(9, 9), gamma=9)
        fitted = calibrate(other, self.write(made))
        for got, want in ((fitted.inside.alpha, 1), (fitted.inside.beta, 0.25), (fitted.gamma, 0.125)):
            self.assertAlmostEqual(got, want, 9)
        self.assertEqual(fitted.between, M.between)

    def test_coefficients_are_not_below_zero(self):
        self.assertEqual(least_squares([[1, 1], [1, 2]], [2, 1])[1], 0)
        for got, want in zip(least_squares([[1, 1], [1, 2], [1, 4]], [3, 5, 9]), (1, 2)):
            self.assertAlmostEqual(got, want)

    def test_predictions_stand_beside_what_was_measured(self):
        made = [self.result("gather", mode, counts, 48) for mode in ("max_len", "sum_len_peer_store") for counts in ("even", "one_hot")]
        made += [{"comm": "thread", "what": "barrier"}, dict(made[0], counts="trace"), dict(made[0], comm="mpi")]
        rows, left_out = compare(M, self.write(made), "thread")
        self.assertEqual((len(rows), left_out), (4, 3))
        for row in rows:
            self.assertLessEqual(row["predicted_us"], row["measured_us"])  # a tree may be faster than the ring it was made by

    def test_results_that_fit_nothing_are_errors(self):
        one = self.result("all_gather", "max_len", "even", 4)
        for results, says in (([], "has no collective"), ([one], "at least two sizes"), ([dict(one, time_us=0)], "time_us is 0"),
                              ([dict(one, ranks="2")], "ranks is '2'"), (["x"], "is 'x'")):
            with self.assertRaisesRegex(BadInput, says):
                calibrate(M, self.write(results))


class Program(unittest.TestCase):
    def run_with(self, *arguments):
        return subprocess.run([sys.executable, BENCH + "/scale_model.py", *arguments], text=True, capture_output=True)

    def test_bad_files_are_one_line_and_exit_code_2(self):
        good = {"inside": {"alpha": 1e-6, "beta": 1e-9}, "between": {"alpha": 1e-6, "busbw": 10}}
        header = "live,forward,0,1\n"
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "file"
            for option, text, says in [
                    ("--parameters", "{", "is no JSON"), ("--parameters", "[]", "must be an object"),
                    ("--parameters", json.dumps({"inside": good["inside"]}), "between is missing"),
                    ("--parameters", json.dumps(dict(good, gama=1)), "gama is unknown"),
                    ("--parameters", json.dumps(dict(good, inside={"alpha": -1, "beta": 1})), "alpha is -1, must be a number from 0"),
                    ("--parameters", json.dumps(dict(good, inside={"alpha": 1, "beta": float("nan")})), "beta is nan"),
                    ("--parameters", json.dumps(dict(good, inside={"alpha": 1})), "one of beta and busbw"),
                    ("--parameters", json.dumps(dict(good, host_size=2.5)), "host_size is 2.5, must be a whole number"),
                    ("--parameters", json.dumps(dict(good, cards=9)), "cards is 9, must be a whole number from 1 to 8"),
                    ("--counts", "live,0\n", "file:1: is not the header"), ("--counts", header + "1,decode,3\n", "file:2: must be"),
                    ("--counts", header + "1,decode,3,-1\n", "file:2: must be"), ("--counts", header, "no live step"),
                    ("--counts", "live,forward," + ",".join(map(str, range(9))) + "\n1,decode" + ",1" * 9, "9 ranks do not fill hosts of 8"),
                    ("--measured", "{}", "results is missing")]:
                path.write_text(text)
                done = self.run_with(option, str(path))
                self.assertEqual(done.returncode, 2, (text, done))
                self.assertIn(says, done.stderr)
                self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
            for option in ("--parameters", "--counts", "--measured", "--calibrate"):
                done = self.run_with(option, folder + "/missing")
                self.assertEqual((done.returncode, done.stderr.count("\n")), (2, 1), done)
                self.assertIn("missing: No such file", done.stderr)

    def test_a_file_of_counts_is_judged_and_called_a_model(self):
        with tempfile.TemporaryDirectory() as folder:
            counts, out = Path(folder) / "counts.csv", Path(folder) / "out.json"
            counts.write_text("live,forward,0,1\n1,decode,3,1\n1,idle,0,0\n0,decode,9,9\n")
            parameters = Path(folder) / "parameters.json"
            parameters.write_text(json.dumps({"inside": {"alpha": 1e-6, "beta": 1e-9}, "between": {"alpha": 1, "beta": 1}}))
            done = self.run_with("--counts", str(counts), "--row-bytes", "1000", "--parameters", str(parameters), "--json", str(out))
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertTrue(done.stdout.startswith("MODEL"))
            judged = {row["mode"]: row for row in json.loads(out.read_text())["counts"][0]["modes"]}
            self.assertAlmostEqual(judged["max_len"]["step_us"], 2 * (1 + 3))
            self.assertAlmostEqual(judged["max_len"]["rows_moved_per_row"], 1.5)
            self.assertNotIn("sum_len_hierarchical", judged)


if __name__ == "__main__":
    unittest.main()
