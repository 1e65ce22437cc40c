"""What reading frames costs: 50 pictures of 10 s out of a 60 s 4K clip, beside decoding the whole clip to float frames.

Run it alone: python -m pytest -s tests/benchmarks/bench_frames.py, or python tests/benchmarks/bench_frames.py
Every run happens in a process of its own, so that its memory can be told from the others'.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
WIDTH, HEIGHT, FPS, SECONDS, START, PART = 3840, 2160, 25, 60, 25, 4
MAX_EXTRA_MB, MIN_SPEED_UP = 300, 10

MEASURE = """
import json, resource, sys, threading, time
import av, torch
import torch.nn.functional
from audiox_core.media import read_frames
path, start, part = sys.argv[1], float(sys.argv[2]), float(sys.argv[3])

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 2**20

torch.nn.functional.interpolate(torch.rand(1, 1, 9, 9), (5, 5), mode="bilinear", antialias=True)
peak, before, running = 0.0, resident(), True
def watch():
    global peak
    while running:
        peak = max(peak, resident())
        time.sleep(0.005)
watcher = threading.Thread(target=watch)
watcher.start()
begun = time.perf_counter()
"""
OURS = "frames = read_frames(path, start=start)\nassert frames.shape == (50, 3, 224, 224)\n"
PLAIN = """
with av.open(path) as container:
    container.streams.video[0].thread_type = "AUTO"
    for frame in container.decode(video=0):
        picture = torch.from_numpy(frame.to_ndarray(format="rgb24")).float() / 255
        if frame.time >= part:
            break
"""
REPORT = """
seconds = time.perf_counter() - begun
running = False
watcher.join()
print(json.dumps({"seconds": seconds, "extra": peak - before}))
"""


def make_clip(path: Path) -> None:
    """Encodes two seconds of moving texture and repeats their packets: 60 s of 4K in little time."""
    generator = np.random.RandomState(0)
    coarse = generator.randint(0, 256, (HEIGHT // 20, WIDTH // 20), dtype=np.uint8)
    luma = np.kron(coarse, np.ones((20, 20), np.uint8)) // 2 + generator.randint(0, 40, (HEIGHT, WIDTH), dtype=np.uint8)
    grey = np.full((HEIGHT // 2, WIDTH), 128, np.uint8)
    span = 2 * FPS
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.options = {"preset": "ultrafast", "crf": "28", "g": str(span)}
        packets = []
        for number in range(span):
            picture = np.concatenate([np.roll(luma, 8 * number, axis=1), grey])
            frame = av.VideoFrame.from_ndarray(picture, format="yuv420p")
            frame.pts, frame.time_base = number, Fraction(1, FPS)
            packets += stream.encode(frame)
        packets += stream.encode(None)
        data = [(bytes(p), p.pts, p.dts, p.is_keyframe) for p in packets]
        base = packets[0].time_base
        step = round(span / FPS / base)
        for turn in range(SECONDS * FPS // span):
            for content, pts, dts, is_keyframe in data:
                packet = av.Packet(content)
                packet.stream, packet.time_base = stream, base
                packet.pts, packet.dts = pts + turn * step, dts + turn * step
                packet.is_keyframe = is_keyframe
                out.mux(packet)


def measure(code: str, path: Path) -> dict[str, float]:
    arguments = [sys.executable, "-c", MEASURE + code + REPORT, str(path), str(START), str(PART)]
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def compare() -> tuple[str, float, float]:
    """The table, our extra memory in MB, and how many times faster we are."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        make_clip(path)
        ours, plain = measure(OURS, path), measure(PLAIN, path)
        again = measure(OURS, path)
    seconds = min(ours["seconds"], again["seconds"])
    extra = max(ours["extra"], again["extra"])
    whole = plain["seconds"] * SECONDS / PART
    held = SECONDS * FPS * WIDTH * HEIGHT * 3 * 4 / 2**20
    rows = [
        ("way", "seconds", "ratio", "extra MB", "ratio"),
        ("read_frames, 50 frames of 10 s", f"{seconds:.2f}", "1", f"{extra:.0f}", "1"),
        (
            "decode all to float, one at a time",
            f"{whole:.1f}",
            f"{whole / seconds:.1f}",
            *_memory(plain["extra"], extra),
        ),
        ("decode all to float, all held", f"{whole:.1f}+", f"{whole / seconds:.1f}+", *_memory(held, extra)),
    ]
    table = "\n".join(f"{a:36}{b:>10}{c:>8}{d:>12}{e:>8}" for a, b, c, d, e in rows)
    note = (
        f"{WIDTH}x{HEIGHT}, {FPS} fps, {SECONDS} s, read from {START} s on. Decoding all was measured on its first "
        f"{PART} s and scaled by {SECONDS / PART:g}; what holding all frames takes is computed."
    )
    return f"{table}\n{note}", extra, whole / seconds


def _memory(extra: float, ours: float) -> tuple[str, str]:
    return f"{extra:.0f}", f"{extra / ours:.1f}"


@pytest.mark.benchmark
def test_ten_seconds_of_a_4k_minute() -> None:
    table, extra, speed_up = compare()
    print(f"\n{table}")
    assert extra <= MAX_EXTRA_MB
    assert speed_up >= MIN_SPEED_UP


if __name__ == "__main__":
    print(compare()[0])
