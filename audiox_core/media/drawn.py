"""Drawn pictures as files: PNG, which keeps every pixel, and JPEG, which is smaller."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError, MediaError
from .checks import tensor_of
from .reading import pyav
from .writing import suffix_of, whole_file

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg")
QUANTIZER = 2  # of JPEG, in FFmpeg's scale from 2 (best) to 31


def write_picture(path: str | os.PathLike[str], image: Tensor) -> Path:
    """Writes (H, W, 3) uint8, tensor or numpy array, as a PNG or JPEG file by the path's ending (.png, .jpg, .jpeg),
    whole or not at all, and returns the path. MediaError where it cannot be written, InputError for another image.
    """
    ending = suffix_of(os.fspath(path), PICTURE_SUFFIXES)
    data = png_bytes(image) if ending == ".png" else jpeg_bytes(image)
    with whole_file(path) as file:
        if not isinstance(file, str):
            raise MediaError(f"{path} is not a path. Give one that ends in .png or .jpg.")
        Path(file).write_bytes(data)
    return Path(path)


def png_bytes(image: Tensor) -> bytes:
    """(H, W, 3) uint8, tensor or numpy array, as the bytes of a PNG file. InputError for another image."""
    return _encoded(image, "png", "rgb24")


def jpeg_bytes(image: Tensor) -> bytes:
    """(H, W, 3) uint8, tensor or numpy array, as the bytes of a JPEG file, whose colours are as fine as its greys."""
    return _encoded(image, "mjpeg", "yuvj444p")


def _encoded(image: Tensor, codec_name: str, pixels: str) -> bytes:
    image = tensor_of(image, "image")
    if image.ndim != 3 or image.shape[-1] != 3 or image.dtype != torch.uint8 or 0 in image.shape:
        raise InputError(f"image is {image.dtype} of shape {tuple(image.shape)}. Give uint8 (height, width, 3).")
    av = pyav()
    codec: Any = av.CodecContext.create(codec_name, "w")
    codec.height, codec.width = image.shape[:2]
    codec.pix_fmt = pixels
    codec.time_base = Fraction(1)
    frame = av.VideoFrame.from_ndarray(image.contiguous().cpu().numpy(), format="rgb24")
    if codec_name == "mjpeg":
        codec.qmin = codec.qmax = QUANTIZER
        frame = frame.reformat(format=pixels)
    return b"".join(bytes(packet) for packet in [*codec.encode(frame), *codec.encode(None)])
