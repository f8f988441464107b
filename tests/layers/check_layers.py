#!/usr/bin/env python3
"""Checks which header includes which: check_layers.py INCLUDE_DIR. Prints each violation; exit code 1 if any."""

import pathlib
import re
import sys

# What headers of a folder may include besides their own folder. The top level ('') may include all.
MAY_INCLUDE = {
    "core": set(),
    "plan": {"core"},
    "comm": {"core"},
    "agree": {"core", "plan", "comm"},
    "pad": {"core", "plan", "comm"},
    "exchange": {"core", "plan", "comm"},
    "trim": {"core", "plan", "comm"},
    "tune": {"core", "plan"},
    "graph": {"core", "plan", "comm", "tune"},
}
UMBRELLA = "dpgather/dpgather.hpp"
MAX_LINES = 250
POSIX = re.compile(r"(sys|linux)/\w+\.h|(errno|fcntl|pthread|sched|semaphore|signal|time|unistd)\.h")
DEVICE = re.compile(r"(thrust|cub|cuda|cooperative_groups)/")
# Foreign interfaces and libraries: each is included by one header, which the umbrella does not reach.
APART = ("mpi.h", "nccl.h", "cuda.h", "cuda_runtime_api.h", "nlohmann/json.hpp")
# A tool's header that is compiled only on request.
ON_REQUEST = ("nvtx3/nvToolsExt.h",)
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]', re.MULTILINE)


def without_comments(text):
    return re.sub(r"/\*.*?\*/|//[^\n]*", "", text, flags=re.DOTALL)


def layer(header):
    """'comm' of 'dpgather/comm/thread/hub.hpp', '' of 'dpgather/dp_gather.hpp'."""
    parts = header.split("/")
    return parts[1] if len(parts) > 2 else ""


def reach(header, includes):
    """All headers of the library that `header` includes, itself too."""
    seen, queue = set(), [header]
    while queue:
        at = queue.pop()
        if at not in seen:
            seen.add(at)
            queue += [name for _, name in includes.get(at, [])]
    return seen & includes.keys()


def check(root):
    """Violations of the tree under `root`, as lines of text."""
    root = pathlib.Path(root)
    headers = sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())
    texts = {h: (root / h).read_text(encoding="utf-8") for h in headers}
    includes = {h: INCLUDE.findall(without_comments(t)) for h, t in texts.items()}
    found = []

    for header, text in texts.items():
        if not header.endswith((".hpp", ".cuh")):
            found.append(f"{header}: neither .hpp nor .cuh")
        if "#pragma once" not in text:
            found.append(f"{header}: has no #pragma once")
        lines = text.count("\n")
        if lines > MAX_LINES:
            found.append(f"{header}: {lines} lines, at most {MAX_LINES}")
        own = layer(header)
        if own and own not in MAY_INCLUDE:
            found.append(f"{header}: folder '{own}' is no layer")
            continue
        for bracket, name in includes[header]:
            if bracket == '"':
                found.append(f'{header}: includes "{name}" by a relative path')
            elif name.startswith("dpgather/"):
                target = layer(name)
                if name not in texts:
                    found.append(f"{header}: includes {name}, which does not exist")
                elif name == UMBRELLA:
                    found.append(f"{header}: includes the umbrella")
                elif own and target != own and target not in MAY_INCLUDE[own]:
                    found.append(f"{header}: layer '{own}' includes '{target or 'top level'}' ({name})")
                elif header.endswith(".hpp") and name.endswith(".cuh"):
                    found.append(f"{header}: a host header includes {name}")
            elif DEVICE.match(name):
                if not header.endswith(".cuh"):
                    found.append(f"{header}: includes <{name}>, which only a .cuh may")
            elif name not in APART + ON_REQUEST and re.search(r"[./]", name) and not POSIX.fullmatch(name):
                found.append(f"{header}: includes <{name}>, which is neither standard nor POSIX")

    users = {api: [h for h in headers if ("<", api) in includes[h]] for api in APART + ON_REQUEST}
    if len(users["mpi.h"]) != 1:
        found.append(f"<mpi.h> is included by {users['mpi.h'] or 'no header'}, must be exactly one")
    for api, including in users.items():
        if len(including) > 1:
            found.append(f"<{api}> is included by {including}, must be at most one")

    interfaces = {user for api in APART for user in users[api]}
    apart = {h for h in headers if reach(h, includes) & interfaces or re.search("/(cuda|nccl|mpi|device)/", h)}
    if UMBRELLA not in texts:
        found.append(f"{UMBRELLA} does not exist")
    else:
        inside = reach(UMBRELLA, includes)
        for header in sorted(inside & apart - {UMBRELLA}):
            found.append(f"{UMBRELLA}: reaches {header}, which needs MPI, NCCL, CUDA or a library")
        for header in headers:
            if header.endswith(".hpp") and header not in inside | apart:
                found.append(f"{UMBRELLA}: does not reach {header}")

    for header in headers:
        for _, name in includes[header]:
            if name in texts and header in reach(name, includes):
                found.append(f"{header}: includes {name}, which leads back to it")
    return found


def main():
    if len(sys.argv) != 2 or not pathlib.Path(sys.argv[1]).is_dir():
        sys.exit("usage: check_layers.py INCLUDE_DIR")
    found = check(sys.argv[1])
    print("\n".join(found) if found else "every include goes down the layers")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
