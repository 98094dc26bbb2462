"""Masks of a DICOM image as a DICOM segmentation (SEG), one segment a class, which viewers lay over the image.

It carries the patient and study of its image, as the standard asks for (PS3.3, A.51): it names whom the image names. What the
classes mean is not coded in a terminology, since their names are free text: they stand in a private scheme, 99OSLER.
"""

from __future__ import annotations

import importlib.util
import io
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from osler import __version__
from osler.errors import DataError
from osler.files import write_atomic
from osler.runs.card import Card

__all__ = ["write_dicom_seg"]

SCHEME = "99OSLER"
SERIES_NUMBER = 9001


def write_dicom_seg(path: Path, file: str, planes: NDArray[np.uint8], card: Card) -> None:
    """Writes the masks of a single-frame DICOM image.

    Args:
        path: of the new file.
        file: the image.
        planes: (K, H, W) of 0 and 1.
        card: of the model.

    Raises:
        DataError: highdicom is not installed, or the image lacks what a segmentation must repeat of it.
        RunError: the folder is read-only, or the disk is full.
    """
    if importlib.util.find_spec("highdicom") is None:
        raise DataError(
            f'{file}: the masks of a DICOM image are written with highdicom, which is not installed: pip install "osler[dicom]".'
        )
    import highdicom
    import pydicom

    with warnings.catch_warnings():
        # Texts of the image that break the standard's rules are not ours to mend, nor to print: they may name the patient.
        warnings.simplefilter("ignore")
        image = pydicom.dcmread(file, stop_before_pixels=True, force=True)
        try:
            segmentation = highdicom.seg.Segmentation(
                source_images=[image],
                pixel_array=planes.transpose(1, 2, 0)[None],
                segmentation_type="BINARY",
                segment_descriptions=[_segment(highdicom, k, name) for k, name in enumerate(card.classes)],
                series_instance_uid=highdicom.UID(),
                series_number=SERIES_NUMBER,
                sop_instance_uid=highdicom.UID(),
                instance_number=1,
                manufacturer="Osler",
                manufacturer_model_name=card.architecture,
                software_versions=__version__,
                device_serial_number=card.fingerprint,
                content_description="For research. Not a medical device.",
                omit_empty_frames=bool(planes.any()),
            )
        except (AttributeError, KeyError, ValueError, TypeError) as error:
            raise DataError(
                f"{file}: no DICOM segmentation can be made of its masks ({type(error).__name__}): the image lacks, or "
                "contradicts, what a segmentation repeats of it. Convert the image to PNG to get its masks as PNG."
            ) from error
        content = io.BytesIO()
        segmentation.save_as(content)
    write_atomic(path, lambda partial: partial.write(content.getvalue()))


def _segment(highdicom: Any, k: int, name: str) -> Any:
    from pydicom.sr.codedict import codes
    from pydicom.sr.coding import Code

    value = re.sub(r"\W+", "_", name)[:16] or f"class_{k + 1}"
    return highdicom.seg.SegmentDescription(
        segment_number=k + 1,
        segment_label=name[:64],
        segmented_property_category=Code("finding", SCHEME, "Finding"),
        segmented_property_type=Code(value, SCHEME, name[:64]),
        algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=highdicom.AlgorithmIdentificationSequence(
            name="Osler", version=__version__, family=codes.DCM.ArtificialIntelligence
        ),
    )
