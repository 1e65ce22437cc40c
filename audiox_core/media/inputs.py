"""What a caller in Python may give as a sound, a video or a picture, brought to the few forms that are read.

A sound: a path, an open binary file, a Sound, (waveform, rate), {"waveform": ..., "sample_rate": ...}, or a waveform at
the model's rate. A video: a path, an open file, or (frames, fps). A picture: a path, an open file, a PIL image, or one
frame. Waveforms are (channels, samples), with a rate also (samples,); frames (frames, height, width, 3 or 4), float in
0..1 or uint8. Both are torch tensors or numpy arrays, frames also a list of pictures.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import InputError
from .audio import check_waveform, to_stereo
from .checks import check_rate, real, tensor_of
from .choosing import FASTEST, SLOWEST
from .resampling import resample
from .shown import Shown
from .sound import Sound


def is_file(value: Any) -> bool:
    """Whether it is a path or an open file. Which it is, and whether it can be read, shows where it is opened."""
    return isinstance(value, str | os.PathLike) or hasattr(value, "read")


def sound_of(name: str, value: Any, rate: int) -> Any:
    """A file as it is; any other sound as samples at `rate`: those with a rate of their own (2, N) float32 on the CPU.

    Raises InputError, which begins with name, for what is no sound, MediaError for NaN or infinity in one.
    """
    if is_file(value):
        return value
    if isinstance(value, Sound):
        value = (value.waveform, value.sample_rate)
    elif isinstance(value, Mapping) and {"waveform", "sample_rate"} <= value.keys():
        value = (value["waveform"], value["sample_rate"])
    if _is_array(value):
        check_waveform(value)
        return value
    if not isinstance(value, tuple | list) or len(value) != 2 or not any(map(_is_array, value)):
        raise InputError(f"{name}: expected a file or a sound, got {type(value).__name__}. Give its path.")
    waveform, own = value
    if not _is_array(waveform):
        raise InputError(f"{name}: the rate comes first. Give (waveform, rate).")
    check_rate(own, f"{name}: sample rate")
    waveform = waveform[None] if waveform.ndim == 1 else waveform
    return resample(to_stereo(check_waveform(waveform)), int(own), rate)


def video_of(value: Any) -> Any:
    """A file as it is, (frames, fps) as Shown. Raises InputError for what is neither."""
    if is_file(value) or isinstance(value, Shown):
        return value
    if _is_array(value):
        raise InputError("video: frames need a rate. Give (frames, fps), with fps the pictures a second.")
    if not isinstance(value, tuple | list) or len(value) != 2 or isinstance(value[0], str | os.PathLike):
        raise InputError(f"video: expected a file or (frames, fps), got {type(value).__name__}. Give its path.")
    frames, fps = value
    real(fps, "video: fps", f". Give a rate from {SLOWEST:g} to {FASTEST}.", SLOWEST, FASTEST)
    if isinstance(frames, tuple | list) and frames:
        pictures = [_picture("video", frame) for frame in frames]
        if len({tuple(picture.shape) for picture in pictures}) > 1:
            raise InputError("video: the frames differ in size. Give one size.")
        return Shown(torch.stack(pictures), fps)
    return Shown(tensor_of(frames, "video: frames"), fps)


def image_of(value: Any) -> Any:
    """A file as it is, a picture as Shown. Raises InputError for what is neither."""
    if (is_file(value) and not _is_pil(value)) or isinstance(value, Shown):
        return value
    return Shown(_picture("image", value)[None], name="the image in memory")


def _picture(name: str, value: Any) -> Tensor:
    """A PIL image, upright and without transparency, or one frame as (H, W, 3 or 4)."""
    if _is_pil(value):
        upright = import_module("PIL.ImageOps").exif_transpose(value)
        return torch.from_numpy(np.array(upright.convert("RGB")))
    if not _is_array(value):
        raise InputError(f"{name}: expected a file or a picture, got {type(value).__name__}. Give its path.")
    picture = tensor_of(value, name)
    return picture[0] if picture.ndim == 4 and len(picture) == 1 else picture


def _is_array(value: Any) -> bool:
    return isinstance(value, Tensor | np.ndarray)


def _is_pil(value: Any) -> bool:
    return hasattr(value, "convert") and hasattr(value, "getexif")
