"""The parameters of the model: what a message costs inside a host and between hosts."""

import json
from dataclasses import dataclass

from common.bad_input import BadInput

MOST_RANKS = 4096


@dataclass(frozen=True)
class Link:
    """A message of n bytes takes alpha + beta * n seconds: Hockney, "The communication challenge for MPP: Intel Paragon
    and Meiko CS-2", Parallel Computing 20 (1994)."""
    alpha: float  # seconds
    beta: float  # seconds per byte, sending and receiving at once


@dataclass(frozen=True)
class Machine:
    inside: Link  # between ranks of a host
    between: Link  # between hosts, through one network card
    gamma: float = 0.0  # seconds per byte that is added to another
    host_size: int = 8  # ranks of a host
    cards: int = 8  # network cards that the ranks of a host share
    ffn_row: float = 0.0  # seconds of the FFN for each row of the global buffer

    def hosts(self, ranks):
        """How many hosts hold `ranks`: full ones, or one."""
        if not 1 <= ranks <= MOST_RANKS:
            raise BadInput(f"ranks is {ranks}, must be 1 to {MOST_RANKS}")
        if ranks <= self.host_size:
            return 1
        if ranks % self.host_size:
            raise BadInput(f"{ranks} ranks do not fill hosts of {self.host_size}")
        return ranks // self.host_size


# Not of any machine that was measured: round figures in the region of eight GPUs of a host behind NVLink switches and a
# 400 Gb/s card for each, to have a default that is written down.
DEFAULT = {"inside": {"alpha": 2e-6, "busbw": 300}, "between": {"alpha": 5e-6, "busbw": 40}, "gamma": 1e-12}


def number(where, values, key, least, most, default=None, whole=False):
    value = values.get(key, default)
    if value is None:
        raise BadInput(f"{where}: {key} is missing")
    kind = int if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kind) or not least <= value <= most:
        raise BadInput(f"{where}: {key} is {value!r}, must be a {'whole ' if whole else ''}number from {least} to {most}")
    return value


def known(where, values, keys):
    if not isinstance(values, dict):
        raise BadInput(f"{where}: is {values!r}, must be an object")
    for key in values:
        if key not in keys:
            raise BadInput(f"{where}: {key} is unknown, must be one of {', '.join(keys)}")


def link(where, values):
    """`beta`, or in its place `busbw` in GB/s as nccl-tests print it: algbw * (p - 1) / p of an all-gather or
    reduce-scatter and algbw * 2 (p - 1) / p of an all-reduce, which is 1 / beta of a ring
    (https://github.com/NVIDIA/nccl-tests/blob/master/doc/PERFORMANCE.md)."""
    known(where, values, ["alpha", "beta", "busbw"])
    alpha = number(where, values, "alpha", 0, 1)
    if ("beta" in values) == ("busbw" in values):
        raise BadInput(f"{where}: needs one of beta and busbw")
    if "beta" in values:
        return Link(alpha, number(where, values, "beta", 0, 1))
    return Link(alpha, 1e-9 / number(where, values, "busbw", 1e-6, 1e6))


def machine(values, where="parameters"):
    known(where, values, ["inside", "between", "gamma", "host_size", "cards", "ffn_row"])
    links = {}
    for name in ["inside", "between"]:
        if name not in values:
            raise BadInput(f"{where}: {name} is missing")
        links[name] = link(f"{where}: {name}", values[name])
    host_size = number(where, values, "host_size", 1, MOST_RANKS, 8, whole=True)
    return Machine(gamma=number(where, values, "gamma", 0, 1, 0.0), host_size=host_size,
                   cards=number(where, values, "cards", 1, host_size, host_size, whole=True),
                   ffn_row=number(where, values, "ffn_row", 0, 1, 0.0), **links)


def read_json(path):
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}") from None
    except ValueError:
        raise BadInput(f"{path}: is no JSON") from None


def read_machine(path):
    return machine(read_json(path), str(path))
