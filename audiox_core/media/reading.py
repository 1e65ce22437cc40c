"""The one door through which media files are read: containers of pictures and sound, and nothing they point to."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Union

from ..errors import MediaError

Source = Union[str, "os.PathLike[str]", BinaryIO]

# What FFmpeg may read: formats that hold pictures and sound themselves. Left out are lists of other files and
# addresses (concat, hls, dash, sdp, image2, ...), devices, drawings (svg), subtitles and text.
FORMATS = (
    *("mov", "matroska", "avi", "asf", "asf_o", "flv", "live_flv", "kux", "mpeg", "mpegts", "mpegvideo", "mxf"),
    *("gxf", "nut", "nsv", "ogg", "rm", "wtv", "ivf", "obu", "av1", "dv", "h261", "h263", "h264", "hevc", "vvc"),
    *("evc", "m4v", "mjpeg", "vc1", "dirac", "dnxhd", "yuv4mpegpipe", "dhav", "aac", "ac3", "ac4", "adts", "aiff"),
    *("amr", "amrnb", "amrwb", "ape", "ast", "au", "caf", "dsf", "dts", "dtshd", "eac3", "flac", "gsm", "iff"),
    *("latm", "loas", "mlp", "mp3", "mpc", "mpc8", "oma", "qcp", "rso", "shn", "sox", "tak", "truehd", "tta"),
    *("voc", "w64", "wav", "wsd", "wv", "xwma", "apng", "gif", "ico", "webp_anim", "jpegxl_anim", "bmp_pipe"),
    *("dds_pipe", "dpx_pipe", "exr_pipe", "hdr_pipe", "j2k_pipe", "jpeg_pipe", "jpegls_pipe", "jpegxl_pipe"),
    *("pam_pipe", "pbm_pipe", "pcx_pipe", "pfm_pipe", "pgm_pipe", "pgmyuv_pipe", "png_pipe", "ppm_pipe"),
    *("psd_pipe", "qoi_pipe", "sgi_pipe", "sunrast_pipe", "tiff_pipe", "webp_pipe", "xbm_pipe"),
)
# How lists of files and addresses begin: only to name them in words, FORMATS keeps them out.
LISTS = (b"ffconcat", b"#extm3u", b"<?xml", b"<mpd", b"<smil", b"v=0", b"[playlist]", b"[reference]", b"rtsp")


def pyav() -> Any:
    """The PyAV module; MediaError with the install command if it is missing."""
    try:
        import av
    except ImportError as error:
        raise MediaError(
            f"Reading and writing media needs the package av (PyAV), which cannot be imported ({error}). "
            "Install it with: pip install av"
        ) from error
    return av


def name_of(source: object) -> str:
    """How messages call a source or target: its path, or the kind of object it is."""
    name = source if isinstance(source, (str, os.PathLike)) else getattr(source, "name", None)
    if isinstance(name, os.PathLike):
        name = os.fspath(name)
    if not isinstance(name, str):
        return f"<{type(source).__name__} in memory>"
    # control characters, and bytes that are no text, as escapes
    name = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)
    return name if len(name) <= 300 else f"{name[:140]}...{name[-140:]}"


@contextmanager
def open_media(source: Source) -> Iterator[Any]:
    """An open PyAV input container of a path or of a seekable binary file object (read from its first byte,
    not closed).

    FFmpeg is given the bytes of this one file: no path, no address, and no format that names other files.
    Raises MediaError for what is missing, empty, no ordinary file, not media, a list of other files, or breaks
    while the container is in use.
    """
    av, name = pyav(), name_of(source)
    allowed = {"format_whitelist": ",".join(FORMATS), "protocol_whitelist": "none"}
    with _opened(source, name) as file:
        try:
            # metadata in odd encodings must not stop anyone from reading the pictures
            with _open(av, source, file, metadata_errors="replace", container_options=allowed) as container:
                yield container
        except av.FFmpegError as error:
            raise _unreadable(name, file, error) from error


def sought(container: Any, offset: int, stream: Any = None) -> bool:
    """Whether the container could be sought to `offset`, in the clock of the stream (microseconds without one).

    A file system may refuse a place far behind the end: that is its own error, not FFmpeg's.
    """
    try:
        container.seek(offset, stream=stream)
    except (pyav().FFmpegError, OSError):
        return False
    return True


def _open(av: Any, source: Source, file: BinaryIO, **options: Any) -> Any:
    if _suffix(source) == ".tga" and isinstance(source, (str, os.PathLike)):
        # FFmpeg recognises this one kind of image by its name alone: it may read this file, and no numbered ones
        only = {"format_whitelist": "image2", "protocol_whitelist": "file", "pattern_type": "none"}
        return av.open(str(Path(source).absolute()), "r", format="image2", **{**options, "container_options": only})
    return av.open(_Bytes(file, _suffix(source)), "r", **options)


class _Bytes:
    """A file object as PyAV shall see it: its bytes, and of its name only the ending, which helps where bytes
    are ambiguous.

    The methods are the file's own: a Ctrl-C that is handled inside PyAV's callbacks would be lost.
    """

    def __init__(self, file: BinaryIO, suffix: str) -> None:
        self.read, self.seek, self.tell = file.read, file.seek, file.tell
        if suffix in (".mp3", ".aac", ".ts", ".mts", ".m2ts", ".mpg", ".mpeg", ".vob", ".h264", ".m4v", ".ac3"):
            self.name = f"media{suffix}"


def _suffix(source: Source) -> str:
    name = source if isinstance(source, (str, os.PathLike)) else getattr(source, "name", "")
    return Path(name).suffix.lower() if isinstance(name, (str, os.PathLike)) else ""


@contextmanager
def _opened(source: Source, name: str) -> Iterator[BinaryIO]:
    """The source as a binary file object at its start."""
    if isinstance(source, (str, os.PathLike)):
        with _open_path(Path(source), name) as file:
            yield file
        return
    if not (hasattr(source, "read") and hasattr(source, "seek") and source.seekable()):
        raise MediaError(f"{name} is not a path or a seekable binary file. Give a path, or read it into a BytesIO.")
    if not isinstance(source.read(0), bytes):
        raise MediaError(f'{name} is open as text. Open it in binary mode: open(path, "rb").')
    if source.seek(0, os.SEEK_END) == 0:
        raise MediaError(f"{name} is empty (0 bytes). Give a file with content.")
    source.seek(0)
    yield source


def _open_path(path: Path, name: str) -> BinaryIO:
    """The open file; MediaError unless `path` is a readable file with content. Pipes and devices are not
    touched.
    """
    try:
        found = path.stat()
        if stat.S_ISDIR(found.st_mode):
            raise IsADirectoryError("it is a folder")
        if not stat.S_ISREG(found.st_mode):
            raise OSError("it is a pipe or a device, not an ordinary file")
        file = path.open("rb")
    except FileNotFoundError as error:
        raise MediaError(f"{name} does not exist. Check the path (looked in {path.parent.absolute()}).") from error
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        reason = getattr(error, "strerror", None) or error
        raise MediaError(f"{name} cannot be opened ({reason}). Give the path of a readable file.") from error
    if found.st_size == 0:
        file.close()
        raise MediaError(f"{name} is empty (0 bytes). Re-export it, or give another file.")
    return file


def _unreadable(name: str, file: BinaryIO, error: Any) -> MediaError:
    """What to say of a file that FFmpeg gave up."""
    file.seek(0)
    head = file.read(200).lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if head.startswith(LISTS):
        return MediaError(
            f"{name} is a list of other files or addresses, no media file, and lists are not followed. "
            "Give the video, image or sound itself."
        )
    return MediaError(
        f"{name} cannot be read ({error.strerror or error}). "
        "The file is broken, cut off, or not a media file: re-export it, or give another one."
    )
