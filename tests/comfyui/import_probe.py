"""Run by ComfyUI's interpreter in its folder: imports the pack as ComfyUI does, and prints the cost as JSON.

The argument is the pack's folder. Everything that ComfyUI itself imports is imported first.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import logging
import os
import sys


def torch_flags() -> dict[str, str]:
    """The process-wide settings of torch that a pack could change."""
    import torch

    return {
        "grad": str(torch.is_grad_enabled()),
        "dtype": str(torch.get_default_dtype()),
        "threads": str(torch.get_num_threads()),
        "deterministic": str(torch.are_deterministic_algorithms_enabled()),
        "matmul precision": torch.get_float32_matmul_precision(),
        "matmul tf32": str(torch.backends.cuda.matmul.allow_tf32),
        "cudnn tf32": str(torch.backends.cudnn.allow_tf32),
        "cudnn benchmark": str(torch.backends.cudnn.benchmark),
        "flash sdp": str(torch.backends.cuda.flash_sdp_enabled()),
        "seed": str(torch.initial_seed()),
    }


def main() -> None:
    """Import ComfyUI's own nodes, then the pack; the last line of stdout is the report."""
    pack = sys.argv[1]
    sys.path.insert(0, os.getcwd())
    sys.argv = ["main.py", "--cpu"]
    import comfy.options

    comfy.options.enable_args_parsing()
    import nodes

    async def load() -> dict[str, object]:
        await nodes.init_extra_nodes(init_custom_nodes=False, init_api_nodes=False)
        records: list[str] = []
        handler = logging.Handler()
        handler.emit = lambda record: records.append(f"{record.pathname}: {record.getMessage()}")
        logging.getLogger().addHandler(handler)
        written = io.StringIO()
        modules, flags, known = set(sys.modules), torch_flags(), set(nodes.NODE_CLASS_MAPPINGS)
        with contextlib.redirect_stdout(written), contextlib.redirect_stderr(written):
            succeeded = await nodes.load_custom_node(pack, module_parent="custom_nodes")
        return {
            "succeeded": succeeded,
            "nodes": sorted(set(nodes.NODE_CLASS_MAPPINGS) - known),
            "printed": written.getvalue(),
            "logged": records,
            "modules": sorted({name.split(".")[0] for name in set(sys.modules) - modules}),
            "ours": sorted(
                name.partition(".audiox_core.")[2] for name in set(sys.modules) - modules if ".audiox_core." in name
            ),
            "flags": {key: [flags[key], now] for key, now in torch_flags().items() if now != flags[key]},
        }

    print(json.dumps(asyncio.run(load())))


if __name__ == "__main__":
    main()
