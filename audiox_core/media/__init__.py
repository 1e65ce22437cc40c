"""Media through PyAV: pictures of a video, sound, soundtracks, spectrograms. Nothing heavy is imported before
it is used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .audio import AUDIO_SUFFIXES as AUDIO_SUFFIXES
    from .audio import check_waveform as check_waveform
    from .audio import fit as fit
    from .audio import normalize_peak as normalize_peak
    from .audio import prepare as prepare
    from .audio import prompt_audio as prompt_audio
    from .audio import read_audio as read_audio
    from .audio import to_stereo as to_stereo
    from .audio import write_audio as write_audio
    from .containers import VIDEO_SUFFIXES as VIDEO_SUFFIXES
    from .drawn import PICTURE_SUFFIXES as PICTURE_SUFFIXES
    from .drawn import write_picture as write_picture
    from .encode import encode_video as encode_video
    from .frames import frame_sets_from_images as frame_sets_from_images
    from .frames import frames_from_images as frames_from_images
    from .frames import read_frame_sets as read_frame_sets
    from .frames import read_frames as read_frames
    from .frames import read_image as read_image
    from .loudness import LEVELS as LEVELS
    from .loudness import at_level as at_level
    from .loudness import integrated_loudness as integrated_loudness
    from .loudness import normalize_loudness as normalize_loudness
    from .loudness import true_peak as true_peak
    from .mux import check_soundtrack as check_soundtrack
    from .mux import set_soundtrack as set_soundtrack
    from .probing import MediaInfo as MediaInfo
    from .probing import probe as probe
    from .resampling import resample as resample
    from .resizing import resize as resize
    from .spans import parse_spans as parse_spans
    from .spectrogram import spectrogram_image as spectrogram_image
    from .writing import check_writable as check_writable
    from .writing import refuse_inputs as refuse_inputs

_HOME = {
    "audio": (
        *("AUDIO_SUFFIXES", "check_waveform", "fit", "normalize_peak", "prepare", "prompt_audio"),
        *("read_audio", "to_stereo", "write_audio"),
    ),
    "containers": ("VIDEO_SUFFIXES",),
    "drawn": ("PICTURE_SUFFIXES", "write_picture"),
    "encode": ("encode_video",),
    "frames": ("frame_sets_from_images", "frames_from_images", "read_frame_sets", "read_frames", "read_image"),
    "loudness": ("LEVELS", "at_level", "integrated_loudness", "normalize_loudness", "true_peak"),
    "mux": ("check_soundtrack", "set_soundtrack"),
    "probing": ("MediaInfo", "probe"),
    "resampling": ("resample",),
    "resizing": ("resize",),
    "spans": ("parse_spans",),
    "spectrogram": ("spectrogram_image",),
    "writing": ("check_writable", "refuse_inputs"),
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}
__all__ = sorted(_MODULE_OF)


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_MODULE_OF[name]}", __name__), name)


def __dir__() -> list[str]:
    return __all__
