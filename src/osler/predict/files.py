"""Files and folders of images to a folder of predictions, whatever the model's task."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from osler.errors import DataError, RequestError, RunError
from osler.imaging.read import IMAGE_SUFFIXES, named_part
from osler.predict.classify import Predictor, write_predictions_csv
from osler.predict.mask_files import MaskFolder, write_masks_csv
from osler.predict.masks import SegmentationPredictor
from osler.predict.volumes import slice_count

__all__ = ["predict_files"]


def predict_files(predictor: Predictor | SegmentationPredictor, images: Sequence[Path], out: Path) -> Path:
    """Predicts files, and folders of them, into `OUT/predictions.csv`; a segmenter's masks and overlays beside it.

    Returns:
        The table's path, absolute. Images that could not be read stand in it with their error.

    Raises:
        RequestError: a path does not exist, or there is no image in what was given; nothing is written.
        DataError: none of the images could be read; nothing is written.
        RunError: the folder cannot be written to.
    """
    paths = _image_files(images)
    table = out.absolute() / "predictions.csv"
    if isinstance(predictor, SegmentationPredictor):
        names, volumes = _with_slices(paths)
        folder = MaskFolder(table.parent, predictor.card, volumes)
        records = [folder.save(one) for one in predictor.predict(names)]
        folder.close()
        _require_some([one.error for one in records])
        _make(out)
        write_masks_csv(table, records, predictor.card)
    else:
        predictions = list(predictor.predict(paths))
        _require_some([one.error for one in predictions])
        _make(out)
        write_predictions_csv(table, predictions, predictor.card)
    return table


def _with_slices(paths: Sequence[Path]) -> tuple[list[str], list[str]]:
    """Names of images, of each NIfTI volume those of its slices; and those volumes."""
    names: list[str] = []
    volumes: list[str] = []
    for name in map(str, paths):
        count = slice_count(name) if name.lower().endswith((".nii", ".nii.gz")) else None
        if count is None:
            names.append(name)
            continue
        volumes.append(name)
        names += [f"{name}#z={number}" for number in range(count)]
    return names, volumes


def _require_some(errors: Sequence[str | None]) -> None:
    """DataError where no image was predicted."""
    found = [error for error in errors if error is not None]
    if len(found) == len(errors):
        shown = "\n".join(f"  {error}" for error in found[:5])
        raise DataError(f"none of {len(found)} images could be read, so nothing was predicted:\n{shown}")


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RunError(f"{folder}: cannot be made: {error.strerror}. Choose another folder with --out DIR.") from error


def _image_files(images: Sequence[Path]) -> list[Path]:
    """Files as given, and the images of folders and their subfolders in the order of their names."""
    absent = [str(path) for path in images if not Path(named_part(str(path))[0]).exists()]
    if absent:
        more = f" and {len(absent) - 5} more" if len(absent) > 5 else ""
        raise RequestError(f"no such file or folder: {', '.join(absent[:5])}{more}")
    found: list[Path] = []
    for path in images:
        inside = sorted(file for file in path.rglob("*") if file.name.lower().endswith(IMAGE_SUFFIXES) and file.is_file())
        found += inside if path.is_dir() else [path]
    if not found:
        raise RequestError(f"no images in {', '.join(map(str, images))}: from a folder, {', '.join(IMAGE_SUFFIXES)} are taken.")
    return found
