"""Loading the full-size layout: memory and time, against building the modules and copying the weights into them.

    python tests/benchmarks/bench_loading.py [--rounds 2] [--dtype float16] [--format ckpt] [--folder DIR] [--tiny]

Writes random weights in the released layout (6 GB) to a temporary file, then loads them in fresh processes, alternating
between the two ways. Needs 6 GB of disk and 13 GB of memory. Bounds of the float32 .safetensors run: peak resident
memory of the whole process at most 1.15 times the weights that are kept; time at most 0.3 of build-then-copy.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))  # so that the script also runs from elsewhere

PEAK_BOUND, TIME_BOUND = 1.15, 0.3
GB = 1e9


def model_of(tiny: bool) -> Any:
    from audiox_core.models import members
    from audiox_core.models.config import parse_config

    return parse_config(members()["demo" if tiny else "AudioX"].config())


def parts_of(model: Any) -> list[Any]:
    """The parts that lie in the checkpoint."""
    return [part for part in model.parts.values() if not part.companions]


def write(path: Path, tiny: bool) -> None:
    """Random weights for every key; cut from one pool, so that writing takes little memory."""
    import torch

    from audiox_core.weights.layout import expected_keys
    from audiox_core.weights.tensors import write_tensors

    shapes = expected_keys(model_of(tiny))
    generator = torch.Generator().manual_seed(0)
    pool = torch.randn(max(torch.Size(s).numel() for s in shapes.values()) + 4096, generator=generator) * 0.02
    state = {}
    for i, (key, shape) in enumerate(shapes.items()):
        count = torch.Size(shape).numel()
        state[key] = pool[i : i + count].view(shape)
    if path.suffix == ".ckpt":
        torch.save({"state_dict": {k: v.clone() for k, v in state.items()}}, path)
    else:
        write_tensors(state, path)


class Memory:
    """Resident memory of this process, sampled while it works: all of it, and of that what is a file's."""

    def __init__(self) -> None:
        self.before, self.peak, self.file_at_peak = self.now()[0], 0, 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)

    @staticmethod
    def now() -> tuple[int, int]:
        lines = Path("/proc/self/status").read_text().splitlines()
        fields = {line.split(":")[0]: line.split()[1] for line in lines if line.startswith("Rss") or "VmRSS" in line}
        return int(fields["VmRSS"]) * 1024, int(fields["RssFile"]) * 1024

    def _sample(self) -> None:
        while not self._stop.wait(0.005):
            total, file = self.now()
            if total > self.peak:
                self.peak, self.file_at_peak = total, file

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


def assign(path: Path, model: Any, dtype: Any) -> list[Any]:
    """Our way."""
    from audiox_core.weights.layout import check_tensors
    from audiox_core.weights.load import load_part
    from audiox_core.weights.tensors import read_tensors

    tensors = read_tensors(path)
    check_tensors(tensors, model, path)
    return [load_part(part, tensors, dtype=dtype) for part in parts_of(model)]


def copy(path: Path, model: Any, dtype: Any) -> list[Any]:
    """Modules with their ordinary initial values, the file's tensors, load_state_dict; no check of any kind."""
    import torch
    from safetensors.torch import load_file

    from audiox_core.weights.layout import slots_of

    modules = [part.build(device="cpu", dtype=dtype) for part in parts_of(model)]
    tensors = torch.load(path, weights_only=True)["state_dict"] if path.suffix == ".ckpt" else load_file(path)
    for part, module in zip(parts_of(model), modules, strict=True):
        state = {}
        for key, own in ((slot.key, slot.name) for slot in slots_of(part) if slot.name is not None):
            if key.endswith("weight_v"):
                state[own] = torch._weight_norm(tensors[key], tensors[key[:-1] + "g"], 0)
            elif not key.endswith("weight_g"):
                state[own] = tensors[key]
        module.load_state_dict(state)
        module.eval().requires_grad_(False)
    return modules


def measure(way: str, path: Path, tiny: bool, dtype: str) -> dict[str, float]:
    """In a process of its own."""
    import resource

    import torch
    import transformers
    from transformers import CLIPVisionModelWithProjection, T5EncoderModel  # noqa: F401 (imports are not loading)

    assert transformers
    model = model_of(tiny)
    ways: dict[str, Callable[..., list[Any]]] = {"assign": assign, "copy": copy}
    with Memory() as memory:
        start = time.perf_counter()
        modules = ways[way](path, model, getattr(torch, dtype))
        seconds = time.perf_counter() - start
    kept = sum(p.numel() * p.element_size() for module in modules for p in module.parameters())
    return {
        "seconds": seconds,
        "kept": kept,
        "before": memory.before,
        "peak": max(memory.peak, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024),
        "file": memory.file_at_peak,
        "after": memory.now()[0],
    }


def run(way: str, path: Path, arguments: argparse.Namespace) -> dict[str, float]:
    with open(path, "rb") as file:  # the same warm page cache for each
        while file.read(1 << 24):
            pass
    command = [sys.executable, __file__, "--measure", way, "--file", str(path), "--dtype", arguments.dtype]
    done = subprocess.run(
        [*command, *(["--tiny"] if arguments.tiny else [])], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"{way} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--dtype", default="float32", choices=["float32", "float16", "bfloat16"])
    parser.add_argument("--format", default="safetensors", choices=["safetensors", "ckpt"])
    parser.add_argument("--folder", default=None, help="where the temporary file goes")
    parser.add_argument("--tiny", action="store_true", help="the demo's size, to try the script out")
    parser.add_argument("--measure", help=argparse.SUPPRESS)
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.measure, arguments.file, arguments.tiny, arguments.dtype)))
        return
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        path = Path(folder) / f"random.{arguments.format}"
        write(path, arguments.tiny)
        print(f"{path.stat().st_size / GB:.2f} GB of {arguments.format} written, loading as {arguments.dtype}\n")
        results: dict[str, list[dict[str, float]]] = {"assign": [], "copy": []}
        print("way      seconds   kept GB   peak GB  of it file   imports   peak/kept")
        for _ in range(arguments.rounds):
            for way, found in results.items():
                r = run(way, path, arguments)
                found.append(r)
                sizes = "".join(f"{r[k] / GB:10.3f}" for k in ("kept", "peak", "file", "before"))
                print(f"{way:8}{r['seconds']:8.2f}{sizes}{r['peak'] / r['kept']:12.3f}", flush=True)
    ratio = min(r["seconds"] for r in results["assign"]) / min(r["seconds"] for r in results["copy"])
    peak = max(r["peak"] / r["kept"] for r in results["assign"])
    print(f"\ntime of assign / copy: {ratio:.3f} (bound {TIME_BOUND})")
    print(f"peak of assign / kept: {peak:.3f} (bound {PEAK_BOUND}; the whole process, imports included)")
    if not arguments.tiny and arguments.dtype == "float32" and arguments.format == "safetensors":
        sys.exit(int(ratio > TIME_BOUND or peak > PEAK_BOUND))


if __name__ == "__main__":
    main()
