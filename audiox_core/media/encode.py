"""Pictures that exist only as tensors as a video, with or without a sound."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor

from ..errors import InputError, MediaError
from .audio import check_waveform, to_stereo
from .checks import exact, real, tensor_of, whole
from .containers import CONTAINERS, VIDEO_SUFFIXES, Container, options, rewound
from .placing import check_placing, longest, place, sound_track
from .reading import Source, pyav
from .resampling import resample
from .writing import Target, suffix_of, whole_file

# Pictures a second of a video; x264's names for how long it tries, and its scale of quality.
SLOWEST, FASTEST = Fraction(1, 100), 1000
PRESETS = ("ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow", "placebo")
COARSEST = 51
LARGEST = 16384  # pixels of a side


def encode_video(
    frames: Iterable[Tensor],
    fps: float | Fraction,
    target: Target,
    waveform: Tensor | None = None,
    sample_rate: int = 44100,
    *,
    offset: float = 0.0,
    gain: float = 1.0,
    crf: int = 17,
    preset: str = "medium",
    inputs: Iterable[Source] = (),
) -> Target:
    """Encodes pictures (H, W, 3 or 4), tensors or numpy arrays, float in 0..1 or uint8, as a video of `fps`
    pictures a second (0.01 to 1000), and returns `target`.

    H.264 (VP9 in .webm) in BT.709, odd sizes padded by repeating the last row or column, alpha dropped. The
    sound (C, N), if given, is placed as `set_soundtrack` does and never runs past the last picture. One
    picture is held at a time. `target` as there; a path appears whole or not at all, also when `frames`
    raises. Raises InputError for no frames, frames that differ in size, and arguments outside their range;
    MediaError for places that cannot be written or are one of the `inputs`, files that must stay.
    """
    shift, level = check_placing(offset, gain)
    rate = exact(real(fps, "fps", f". Give {float(SLOWEST)} to {FASTEST} pictures a second.", SLOWEST, FASTEST))
    # FFmpeg keeps rates in two 32-bit numbers.
    rate = rate.limit_denominator(1_000_000 if isinstance(fps, Fraction) else 1001)
    crf = whole(crf, "crf", 0, COARSEST)
    if preset not in PRESETS:
        raise InputError(f"preset {preset!r} does not exist. Valid: {', '.join(PRESETS)}.")
    kind = CONTAINERS[suffix_of(target, VIDEO_SUFFIXES) or ".mp4"]
    audio = None
    if waveform is not None:
        audio = place(resample(to_stereo(check_waveform(waveform)), sample_rate, kind.rate) * level, kind, shift)
    av = pyav()
    if kind.encoder not in av.codecs_available:
        raise MediaError(f"This build of PyAV has no {kind.encoder}. Install the wheel from PyPI: pip install av")
    with (
        whole_file(target, inputs) as file,
        av.open(file, "w", format=kind.format, options=options(kind, target)) as out,
    ):
        stream, track, shape, count = None, None, None, 0
        for given in frames:
            frame = tensor_of(given, f"frame {count}")
            if stream is None:
                shape = frame.shape
                stream = _video_encoder(out, kind, rate, frame, crf, preset)
                track = None if audio is None else sound_track(out, kind, audio, Fraction(0))
            if frame.shape != shape:
                raise InputError(
                    f"frame {count} has shape {tuple(frame.shape)}, the first {tuple(shape or ())}. Give one size."
                )
            out.mux(stream.encode(_video_frame(frame, count, rate)))
            count += 1
            if track is not None:
                track.write(longest(count / rate, kind))
        if stream is None:
            raise InputError("there are no frames to encode. Give at least one.")
        out.mux(stream.encode(None))
        if track is not None:
            track.write(None, last=longest(count / rate, kind))
    return rewound(target)


def _video_encoder(out: Any, kind: Container, rate: Fraction, frame: Tensor, crf: int, preset: str) -> Any:
    if frame.ndim != 3 or frame.shape[-1] not in (3, 4) or 0 in frame.shape:
        raise InputError(f"a frame has shape {tuple(frame.shape)}. Give (height, width, 3 or 4), none of them 0.")
    if max(frame.shape) > LARGEST:
        raise InputError(f"a frame has shape {tuple(frame.shape)}. Give at most {LARGEST} pixels a side.")
    stream = out.add_stream(kind.encoder, rate=rate)
    stream.height, stream.width = frame.shape[0] + frame.shape[0] % 2, frame.shape[1] + frame.shape[1] % 2
    stream.pix_fmt = "yuv420p"
    if kind.encoder == "libx264":
        stream.options = {"crf": str(crf), "preset": preset}
    else:  # VP9's scale is 0..63, and its bit rate must be 0 for a constant quality
        stream.options = {"crf": str(round(crf * 63 / 51)), "deadline": "good", "cpu-used": "4", "row-mt": "1"}
        stream.bit_rate = 0
    context = stream.codec_context
    context.color_primaries = context.color_trc = context.colorspace = context.color_range = 1  # BT.709, limited range
    return stream


def _video_frame(frame: Tensor, index: int, rate: Fraction) -> Any:
    """(H, W, 3 or 4) as a yuv420p VideoFrame of even size with its place in time."""
    from av.video.reformatter import ColorRange, Colorspace

    picture = frame[..., :3].cpu()
    if picture.dtype != torch.uint8:
        if not picture.is_floating_point():
            raise InputError(f"frame {index} is {picture.dtype}. Give floating point values in 0..1, or uint8.")
        if not torch.isfinite(picture).all():
            raise InputError(f"frame {index} contains NaN or infinite values. Give values in 0..1.")
        picture = (picture.float().clamp(0, 1) * 255).round().to(torch.uint8)
    height, width = picture.shape[:2]
    if height % 2:
        picture = torch.cat([picture, picture[-1:]])
    if width % 2:
        picture = torch.cat([picture, picture[:, -1:]], dim=1)
    rgb = pyav().VideoFrame.from_ndarray(picture.contiguous().numpy(), format="rgb24")
    out = rgb.reformat(
        format="yuv420p",
        src_colorspace=Colorspace.DEFAULT,
        dst_colorspace=Colorspace.ITU709,
        dst_color_range=ColorRange.MPEG,
    )
    out.pts, out.time_base = index, 1 / rate
    return out
