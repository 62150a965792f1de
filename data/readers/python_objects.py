"""An image table from what Python programs hold: a DataFrame, a torchvision or a Hugging Face `datasets` data set.

Everything here names images by their files: features are checked against the bytes that they were made from, workers
decode the files themselves, and another process must find the same data set by its name. So the table is written as a
CSV in the workspace, and images that are no files yet are written beside it, named by a digest of what they hold: given
again they are the same files, and another image is another file. Bytes that are there are kept as they are; what was
decoded already becomes a PNG, which loses nothing.
"""

import hashlib
import io
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from hamcache.data.errors import BadImageError, TableError
from hamcache.data.files import csv_text, write_bytes, write_text
from hamcache.data.given_split import PART_COLUMN, PART_WORDS
from hamcache.data.image_files import SUFFIXES, open_image
from hamcache.data.readers.csv_table import ids_from_paths
from hamcache.data.subset import frame_for, subset_path
from hamcache.data.table import COLUMNS, ImageTable, build_table
from hamcache.data.workspace import Workspace

KINDS = (
    "Give a DataFrame with the columns path and label, a torchvision data set (or anything indexed that gives an image "
    "and a label), a Hugging Face data set with an image column, or a dict of these by part: train, validation, test."
)
_PNG_MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")
OnImage = Callable[[int, int | None], None]


def keep_table(
    data: Any,
    name: str,
    workspace: Workspace,
    columns: Mapping[str, str] | None = None,
    *,
    replace: bool = False,
    on_image: OnImage | None = None,
) -> ImageTable:
    """Write what a program holds as a data set of a workspace, by this name; `--dataset NAME` then finds it, too.

    Args:
        data: A DataFrame, a torchvision or Hugging Face data set, or a dict of such by part, which becomes the column
            `part`.
        name: Of the data set.
        workspace: Gets `datasets/<name>.csv` and, for images that are no files, `datasets/<name>-images/`.
        columns: Our names (`image_id, path, label, group`) to those of the frame or data set; `path` is the column of
            images.
        replace: Write over another table of this name.
        on_image: Takes how many images are done, and how many there are.

    Raises:
        TableError: The data are of another kind, or make no table; another data set has the name.
    """
    path = subset_path(name, workspace)
    if Path(name).name != name or path.parent != workspace.datasets:
        raise TableError(f"Expected a name for the data set, got {name!r}. Take letters and digits, such as 'moles'.")
    kept = _Kept(workspace.datasets / f"{name}-images")
    if isinstance(data, Mapping):
        parts = [_with_part(_frame(of_part, kept, columns, on_image), str(part)) for part, of_part in data.items()]
        frame = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
    else:
        frame = _frame(data, kept, columns, on_image)
    table = build_table(name, frame)
    text = csv_text(frame_for(path, table))
    if path.is_file() and not replace and path.read_text(encoding="utf-8") != text:
        raise TableError(
            f"Expected the data set {name!r} to be the one that the workspace has, got another. Take another name, or "
            "replace it with replace=True."
        )
    write_text(path, text)
    return table


def _with_part(frame: pd.DataFrame, part: str) -> pd.DataFrame:
    if part.lower() not in PART_WORDS:
        raise TableError(f"Expected parts named train, validation or test, got {part!r}. {KINDS}")
    own = frame["group"] == frame["image_id"]
    frame = frame.assign(image_id=f"{part}-" + frame["image_id"])
    return frame.assign(group=frame["group"].where(~own, frame["image_id"]), **{PART_COLUMN: PART_WORDS[part.lower()]})


def _frame(data: Any, kept: "_Kept", columns: Mapping[str, str] | None, on_image: OnImage | None) -> pd.DataFrame:
    """`image_id, path, label, group` and further columns; without a group each image is its own."""
    columns = dict(columns or {})
    if unknown := set(columns) - set(COLUMNS):
        raise TableError(f"columns: expected names out of {', '.join(COLUMNS)}, got {', '.join(sorted(unknown))}.")
    if isinstance(data, pd.DataFrame):
        frame = _renamed(data, columns)
        frame["path"] = [str(Path(path).expanduser().absolute()) for path in frame["path"].astype(str)]
        ids = ids_from_paths(frame["path"].tolist(), _shared_folder(frame["path"]))
    elif hasattr(data, "column_names") and hasattr(data, "features"):
        frame = _of_hugging_face(data, kept, columns, on_image)
        ids = _numbered(len(frame))
    elif hasattr(data, "__getitem__") and hasattr(data, "__len__") and not isinstance(data, str | bytes):
        frame = _of_pairs(data, kept, columns, on_image)
        ids = _numbered(len(frame))
    else:
        raise TableError(f"Expected a data set, got {type(data).__name__}. {KINDS}")
    if "image_id" not in frame:
        frame["image_id"] = ids
    frame["image_id"] = frame["image_id"].astype(str)
    if "group" not in frame:
        frame["group"] = frame["image_id"]
    return frame


def _renamed(frame: pd.DataFrame, columns: Mapping[str, str]) -> pd.DataFrame:
    """A copy with our names; a further column that has one of them already gets "_in_file" added."""
    absent = [theirs for theirs in columns.values() if theirs not in frame]
    needed = [ours for ours in ("path", "label") if columns.get(ours, ours) not in frame]
    if absent or needed:
        lacking = absent or needed
        raise TableError(
            f"Expected the column {lacking[0]!r}, got {', '.join(map(str, frame.columns)) or 'none'}. Say what it is "
            f"called: columns={{{(needed or ['label'])[0]!r}: ...}}."
        )
    names = {theirs: ours for ours, theirs in columns.items()}
    taken = {name: f"{name}_in_file" for name in frame.columns if name in columns and name not in names}
    return frame.rename(columns={**taken, **names}).reset_index(drop=True)


def _shared_folder(paths: Iterable[str]) -> Path:
    """The deepest folder that holds all of some files."""
    folders = [Path(path).parent.parts for path in paths]
    shared: list[str] = []
    for level in zip(*folders, strict=False):
        if len(set(level)) > 1:
            break
        shared.append(level[0])
    return Path(*shared) if shared else Path("/")


def _numbered(count: int) -> list[str]:
    return [f"{number:0{max(6, len(str(count)))}d}" for number in range(count)]


def _of_hugging_face(data: Any, kept: "_Kept", columns: Mapping[str, str], on_image: OnImage | None) -> pd.DataFrame:
    kinds = {name: type(feature).__name__ for name, feature in data.features.items()}
    pictures = [name for name, kind in kinds.items() if kind == "Image"]
    column = columns.get("path", pictures[0] if pictures else "")
    if column not in kinds:
        raise TableError(f"Expected a column of images, got {', '.join(kinds)}. Name it: columns={{'path': ...}}.")
    rest = data.remove_columns([column]).to_pandas()
    for name, feature in data.features.items():
        if kinds[name] == "ClassLabel" and name in rest:
            rest[name] = [feature.names[code] for code in rest[name]]
    if column in pictures:  # its bytes as they are, not decoded
        data = data.cast_column(column, type(data.features[column])(decode=False))
    paths = _kept_paths((row[column] for row in data), len(rest), kept, on_image)
    return _renamed(rest.assign(**{column: paths}), {**columns, "path": column})


def _of_pairs(data: Any, kept: "_Kept", columns: Mapping[str, str], on_image: OnImage | None) -> pd.DataFrame:
    if columns:
        raise TableError("Expected no columns for pairs of an image and a label, got some. Leave them out.")
    classes = getattr(data, "classes", None) or getattr(getattr(data, "dataset", None), "classes", None)
    listed = getattr(data, "samples", None)
    if listed and all(isinstance(entry, tuple) and isinstance(entry[0], str) for entry in listed):
        frame = pd.DataFrame({"path": [str(Path(entry[0]).absolute()) for entry in listed]})
        labels: list[Any] = [entry[1] for entry in listed]
    else:
        labels = []
        frame = pd.DataFrame({"path": _kept_paths(_images_of(data, labels), len(data), kept, on_image)})
    return frame.assign(label=[_class_name(label, classes) for label in labels])


def _images_of(data: Any, labels: list[Any]) -> Iterator[Any]:
    """The images one after the other; their labels are added to the list on the way."""
    for number in range(len(data)):
        try:
            image, label = data[number]
        except (TypeError, ValueError) as error:
            raise TableError(
                f"Expected an image and a label at {number}, got something else ({error}). {KINDS}"
            ) from error
        labels.append(label.item() if hasattr(label, "item") else label)
        yield image


def _class_name(label: Any, classes: Sequence[str] | None) -> str:
    return str(classes[label]) if classes is not None and isinstance(label, int) else str(label)


def _kept_paths(images: Iterable[Any], count: int, kept: "_Kept", on_image: OnImage | None) -> list[str]:
    paths = []
    for number, image in enumerate(images):
        try:
            paths.append(str(kept.path_of(image)))
        except BadImageError as error:
            raise TableError(f"Expected an image at {number}, got: {error}. {KINDS}") from error
        if on_image:
            on_image(number + 1, count)
    return paths


class _Kept:
    """The folder of images that were no files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()

    def path_of(self, image: Any) -> Path:
        """The file of an image: its own, or one that is written.

        Raises:
            BadImageError: It is none.
        """
        if isinstance(image, Mapping):  # Hugging Face's, not decoded
            if image.get("bytes"):
                return self._written(bytes(image["bytes"]))
            image = image.get("path")
        if isinstance(image, str | Path):
            return Path(image).absolute()
        if isinstance(image, bytes):
            return self._written(image)
        if isinstance(image, Image.Image):
            return self._drawn(image)
        return self._drawn(Image.fromarray(_pixels(image)))

    def _written(self, content: bytes) -> Path:
        kind = str(open_image(io.BytesIO(content)).format)
        suffix = SUFFIXES.get(kind, (".jpg",)) or (f".{kind.lower()}",)
        return self._file(hashlib.sha256(content), suffix[0], lambda: content)

    def _drawn(self, image: Image.Image) -> Path:
        if image.mode not in _PNG_MODES:
            image = image.convert("RGB")
        palette = image.getpalette() or []
        name = hashlib.sha256(f"{image.mode} {image.size} {palette}".encode() + image.tobytes())

        def png() -> bytes:
            file = io.BytesIO()
            image.save(file, "PNG")
            return file.getvalue()

        return self._file(name, ".png", png)

    def _file(self, name: Any, suffix: str, content: Callable[[], bytes]) -> Path:
        path = self.folder / f"{name.hexdigest()[:20]}{suffix}"
        if not path.is_file():
            write_bytes(path, content())
        return path


def _pixels(image: Any) -> np.ndarray:
    """uint8 `[height, width]` or `[height, width, 3]` of an array or tensor."""
    if image is None or not hasattr(image, "shape"):
        raise BadImageError(f"{type(image).__name__}")
    array = np.asarray(image)
    if array.dtype != np.uint8:
        raise BadImageError(
            f"{type(image).__name__} of {array.dtype}, not of uint8 from 0 to 255: take the data set's transform away"
        )
    if array.ndim == 3 and array.shape[0] in (1, 3) and array.shape[2] not in (1, 3, 4):
        array = array.transpose(1, 2, 0)  # a tensor's channels come first
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)):
        raise BadImageError(f"{type(image).__name__} of the shape {array.shape}")
    return np.ascontiguousarray(array)
