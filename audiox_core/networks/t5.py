"""Text conditioning: tokens of a T5 encoder's last hidden states, zero where the prompt has ended."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ..errors import InputError
from .borrowed import from_transformers

log = logging.getLogger("audiox")


class Tokenizer(Protocol):
    """Text to token ids, the end token included, not yet truncated; and back for messages."""

    def encode(self, text: str) -> list[int]: ...

    def decode(self, ids: list[int]) -> str: ...


class TextEncoder(nn.Module):
    """Wraps transformers.T5EncoderModel; its answers are the text's condition tokens.

    t5 holds the arguments of transformers.T5Config. The layers are transformers' own and don't cast: they are kept in
    what they compute in, and operations are not used.
    """

    def __init__(
        self,
        t5: Mapping[str, Any],
        max_length: int,
        *,
        dtype: torch.dtype | None = None,
        compute_dtype: torch.dtype | None = None,
        device: Any = None,
        operations: Any = None,
    ):
        super().__init__()
        T5Config, T5EncoderModel = from_transformers("T5Config", "T5EncoderModel")
        self.max_length = max_length
        with torch.device(device or "cpu"):
            kept = compute_dtype or dtype or torch.get_default_dtype()
            self.t5 = T5EncoderModel(T5Config(**t5)).to(kept).eval()

    def tie(self) -> None:
        """Makes the two names of the embedding one parameter, so that moving the encoder keeps one copy."""
        self.t5.encoder.embed_tokens.weight = self.t5.shared.weight

    def forward(self, ids: list[list[int]], device: torch.device | None = None) -> Tensor:
        """Token ids of each prompt (at most max_length) -> tokens (B, max_length, D), zeros after the end.

        Ids are Python's, so `device` says where to compute (the weights' own unless given).
        """
        device, length = device or self.t5.shared.weight.device, self.max_length
        if any(not row or len(row) > length for row in ids):
            raise InputError(f"text: {[len(row) for row in ids]} tokens; each prompt needs 1 to {length}")
        padded = torch.zeros(len(ids), length, dtype=torch.long, device=device)
        mask = torch.zeros(len(ids), length, dtype=torch.long, device=device)
        for i, row in enumerate(ids):
            padded[i, : len(row)] = torch.tensor(row, device=device)
            mask[i, : len(row)] = 1
        hidden = self.t5(input_ids=padded, attention_mask=mask).last_hidden_state  # (B, M, D)
        return hidden.float() * mask[..., None]


def truncate(text: str, tokenizer: Tokenizer, max_length: int) -> list[int]:
    """Token ids of a prompt, cut to max_length with its end token kept; warns with the text that was cut off."""
    ids = tokenizer.encode(text)
    if len(ids) <= max_length:
        return ids
    lost = tokenizer.decode(ids[max_length - 1 : -1])
    log.warning("text: the prompt is %d tokens long, %d are read; cut off: %r", len(ids), max_length, lost)
    return [*ids[: max_length - 1], ids[-1]]


class T5Tokenizer:
    """A folder's tokenizer.json, which is all that is needed. Raises InputError when it can't be read."""

    def __init__(self, folder: str | Path):
        from tokenizers import Tokenizer as FileTokenizer

        path = Path(folder) / "tokenizer.json"
        try:
            self.inner = FileTokenizer.from_file(str(path))
        except Exception as error:  # the library raises nothing narrower
            raise InputError(f"{path}: is no tokenizer ({error}). Get t5-base's tokenizer.json.") from error
        # No length limit here: truncate() cuts, and tells what.
        self.inner.no_truncation()
        self.inner.no_padding()

    def encode(self, text: str) -> list[int]:
        return list(self.inner.encode(text).ids)

    def decode(self, ids: list[int]) -> str:
        return str(self.inner.decode(ids))


class ByteTokenizer:
    """UTF-8 bytes shifted by three (0 pad, 1 end, 2 unknown), as in ByT5 (arXiv:2105.13626); for the demo."""

    def encode(self, text: str) -> list[int]:
        return [b + 3 for b in text.encode("utf-8")] + [1]

    def decode(self, ids: list[int]) -> str:
        return bytes(i - 3 for i in ids if i >= 3).decode("utf-8", errors="replace")


def encoder_tensors(state: Mapping[str, Tensor]) -> dict[str, str]:
    """Which tensors of a T5 file its encoder needs, (our name: the file's own); a decoder is left aside.

    The embedding has two names, one of which every file has. What is no part of a T5 stays, to be refused.
    """
    found = {key: key for key in state if not key.startswith(("decoder.", "lm_head.", "spiece_model"))}
    alias = found.pop("encoder.embed_tokens.weight", None)
    if alias is not None:
        found.setdefault("shared.weight", alias)
    return found
