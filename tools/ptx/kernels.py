"""The kernels of a file of PTX, with what ptxas says of them."""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass

ARCHITECTURES = ["sm_80", "sm_90", "sm_100"]
USUAL_NVCC = "/usr/local/cuda/bin/nvcc"


class BadInput(Exception):
    """One line for the user."""


@dataclass(frozen=True)
class Kernel:
    """One of the library's kernels."""
    kind: str  # name of the body, as in 'SelectOwnRow'
    types: str  # what it was instantiated with: 'bf16', 'unsigned short', ''
    chunked: bool  # wrapped in a ChunkBody
    text: str  # its PTX, from its name to the end
    properties: str  # of ptxas -v; empty if there is no report

    @property
    def label(self):
        return f"{self.kind}<{self.types}>" if self.types else self.kind

    @property
    def registers(self):
        """Of a thread, or None if ptxas was not asked."""
        found = re.search(r"(\d+) registers", self.properties)
        return int(found.group(1)) if found else None

    @property
    def spills(self):
        """Bytes of (stack frame, spill stores, spill loads), or None if ptxas was not asked."""
        found = re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", self.properties)
        return tuple(map(int, found.groups())) if found else None


def find_nvcc():
    """Path of nvcc, or None."""
    return shutil.which("nvcc") or (USUAL_NVCC if os.access(USUAL_NVCC, os.X_OK) else None)


def flags(architecture, kept, cubin):
    """For nvcc: PTX stays in the folder `kept`, the report of ptxas goes to what it prints."""
    return ["-std=c++20", f"-arch={architecture}", "-Xptxas", "-v", "-keep", "-keep-dir", str(kept), "-cubin", "-o", str(cubin)]


def demangled(names):
    if not names:
        return {}
    done = subprocess.run(["c++filt", *names], capture_output=True, text=True, check=True)
    return dict(zip(names, done.stdout.splitlines()))


def body_of(name):
    """('CopyAndFill', 'float', True) of 'void dpgather::detail::run_rows<dpgather::detail::ChunkBody<...>>(...)'."""
    inside = re.search(r"run_(?:rows|wait)<(.*)>\(", name)
    if not inside:
        return None
    words = [w for w in re.findall(r"\w+", inside.group(1)) if w not in ("dpgather", "detail")]
    chunked = words[0] == "ChunkBody"
    kind, *types = words[chunked:]
    return kind, " ".join(types), chunked


def kernels_of(ptx, report=""):
    """The library's kernels in `ptx`, in its order; those of CUB are left out."""
    parts = re.split(r"^(?:\.(?:visible|weak) )?\.entry ", ptx, flags=re.MULTILINE)[1:]
    texts = {re.match(r"\w*", part).group(0): part for part in parts}
    properties = dict(re.findall(r"Function properties for (\w+)\s+(.*?registers)", report, flags=re.DOTALL))
    names = demangled(list(texts))
    found = []
    for mangled, text in texts.items():
        body = body_of(names[mangled])
        if body is not None:
            found.append(Kernel(*body, text, properties.get(mangled, "")))
    return found
