"""One compressed DICOM frame becomes an array, by the decoder that is exact for its transfer syntax.

Also the program that a decoder process runs (`python -m osler.imaging.dicom_codecs`): see `osler.imaging.dicom_isolation`.
All decoders named here have permissive licences. pydicom is imported inside functions: without it this module still imports.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import math
import struct
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

__all__ = ["CODECS", "MAX_DECODER_MEMORY", "Codec", "FrameLayout", "decode_frame", "read_message", "write_message"]

MAX_DECODER_MEMORY = 2**30
"""Bytes that a decoder process may take."""


@dataclass(frozen=True)
class Codec:
    """Who decodes a transfer syntax.

    Attributes:
        name: of the compression, for messages.
        plugin: pydicom's name of the decoder; "12-bit gdcm" for the one it does not know.
        modules: that must be importable.
        packages: what to install where they are not.
        isolated: decode in a process of its own: damaged data make this decoder crash, hang or fill the memory.
    """

    name: str
    plugin: str
    modules: tuple[str, ...]
    packages: str
    isolated: bool = True

    @property
    def is_available(self) -> bool:
        """Whether its modules are installed; nothing is imported."""
        return all(importlib.util.find_spec(module) is not None for module in self.modules)


_JPEG = Codec("JPEG", "pillow", ("PIL",), "pillow", isolated=False)
JPEG_12_BIT = Codec("12-bit JPEG", "12-bit gdcm", ("gdcm",), "python-gdcm")
_LOSSLESS = Codec("lossless JPEG", "gdcm", ("gdcm",), "python-gdcm")
_LS = Codec("JPEG-LS", "pyjpegls", ("jpeg_ls",), "pyjpegls")
_J2K = Codec("JPEG 2000", "pylibjpeg", ("pylibjpeg", "openjpeg"), "pylibjpeg pylibjpeg-openjpeg")
_HTJ2K = Codec("high-throughput JPEG 2000", "pylibjpeg", _J2K.modules, _J2K.packages)

CODECS = {
    "1.2.840.10008.1.2.4.50": _JPEG,
    "1.2.840.10008.1.2.4.51": _JPEG,  # of 8 bits; 12 bits: JPEG_12_BIT
    "1.2.840.10008.1.2.4.57": _LOSSLESS,
    "1.2.840.10008.1.2.4.70": _LOSSLESS,
    "1.2.840.10008.1.2.4.80": _LS,
    "1.2.840.10008.1.2.4.81": _LS,
    "1.2.840.10008.1.2.4.90": _J2K,
    "1.2.840.10008.1.2.4.91": _J2K,
    "1.2.840.10008.1.2.4.201": _HTJ2K,
    "1.2.840.10008.1.2.4.202": _HTJ2K,
    "1.2.840.10008.1.2.4.203": _HTJ2K,
    "1.2.840.10008.1.2.5": Codec("RLE", "pydicom", ("pydicom",), "pydicom", isolated=False),
}
"""Transfer syntax to codec."""


@dataclass(frozen=True)
class FrameLayout:
    """What a decoder must know of a frame: pydicom's names and meanings."""

    rows: int
    columns: int
    samples_per_pixel: int
    photometric_interpretation: str
    bits_allocated: int
    bits_stored: int
    pixel_representation: int
    planar_configuration: int


def decode_frame(data: bytes, syntax: str, plugin: str, layout: FrameLayout) -> tuple[NDArray[Any], str]:
    """Decodes one frame; in this process, so only what the codec calls safe should come here from outside.

    Args:
        data: the coded frame.
        syntax: its transfer syntax.
        plugin: as `Codec.plugin`.
        layout: what the file says of it.

    Returns:
        (H, W) or (H, W, 3) stored values, and their photometric interpretation: YBR_FULL and YBR_FULL_422 have become RGB.

    Raises:
        Exception: of any kind; decoders are not particular.
    """
    if plugin == "12-bit gdcm":
        return _by_gdcm(data, syntax, layout), layout.photometric_interpretation
    from pydicom.encaps import encapsulate
    from pydicom.pixels.decoders.base import get_decoder

    options: Any = asdict(layout) | {"number_of_frames": 1, "pixel_keyword": "PixelData"}
    array, meta = get_decoder(syntax).as_array(encapsulate([data]), index=0, decoding_plugin=plugin, **options)
    return array, str(meta["photometric_interpretation"])


def _by_gdcm(data: bytes, syntax: str, layout: FrameLayout) -> NDArray[np.uint16]:
    """(H, W) of a 12-bit JPEG, which pydicom does not pass to GDCM."""
    import gdcm

    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(data)
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((layout.columns, layout.rows, 1))
    image.SetDataElement(element)
    kind = gdcm.PhotometricInterpretation.GetPIType(layout.photometric_interpretation)
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(kind))
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.GetTSType(syntax)))
    image.SetPixelFormat(gdcm.PixelFormat(1, 16, 12, 11, 0))
    pixels = np.frombuffer(image.GetBuffer().encode("utf-8", "surrogateescape"), np.uint16)
    return pixels.reshape(layout.rows, layout.columns)


# --- the decoder process ----------------------------------------------------------------------------------------------------


def write_message(stream: BinaryIO, head: dict[str, Any], body: bytes | memoryview = b"") -> None:
    """Sends a JSON object and bytes, each behind its length."""
    text = json.dumps(head).encode()
    stream.write(struct.pack("<QQ", len(text), len(body)) + text)
    stream.write(body)
    stream.flush()


def read_message(stream: BinaryIO) -> tuple[dict[str, Any], bytes]:
    """Receives what `write_message` sent; EOFError where the other side is gone."""
    stated = stream.read(16)
    lengths = struct.unpack("<QQ", stated) if len(stated) == 16 else (0, 0)
    if not 0 < sum(lengths) <= MAX_DECODER_MEMORY:  # gone, or a decoder that damaged data made write nonsense
        raise EOFError
    text, body = stream.read(lengths[0]), stream.read(lengths[1])
    if len(text) + len(body) < sum(lengths):
        raise EOFError
    return json.loads(text), body


def _limit_memory() -> None:
    with contextlib.suppress(ImportError, OSError, ValueError):  # not every system has such limits
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (MAX_DECODER_MEMORY, MAX_DECODER_MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _limit_time(seconds: float) -> None:
    """Ends this process after so many more seconds of computing, rounded up to whole ones of its life."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
        resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(time.process_time() + seconds), hard))


def serve(requests: BinaryIO, answers: BinaryIO) -> None:
    """Decodes frame after frame until the other side is gone."""
    import pydicom.pixels  # noqa: F401  its import takes longer than most frames: do it before saying that we are ready

    _limit_memory()
    write_message(answers, {"ready": True})
    while True:
        try:
            head, data = read_message(requests)
        except EOFError:
            return
        _limit_time(head["seconds"])
        try:
            array, photometric = decode_frame(data, head["syntax"], head["plugin"], FrameLayout(**head["layout"]))
            array = np.ascontiguousarray(array)
            found = {"photometric": photometric, "dtype": array.dtype.str, "shape": array.shape}
        except Exception as error:
            write_message(answers, {"error": type(error).__name__})
            continue
        write_message(answers, found, array.reshape(-1).view(np.uint8).data)


if __name__ == "__main__":
    serve(sys.stdin.buffer, sys.stdout.buffer)
