"""The image table of whatever names a data set: a folder, a file or a word."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd
from filelock import FileLock

from hamcache.configs.defaults import DATASET
from hamcache.data import ham10000
from hamcache.data.errors import DatasetNotFoundError, TableError, some_of
from hamcache.data.files import find_images
from hamcache.data.given_split import PART_COLUMN, PART_WORDS
from hamcache.data.nearest import nearest
from hamcache.data.readers.csv_table import ids_from_paths, read_csv_table
from hamcache.data.readers.imported import is_imported, read_imported
from hamcache.data.table import ImageTable, build_table, safe_name
from hamcache.data.workspace import Workspace

FORMS = (
    f"A data set is a folder in HAM10000's Kaggle layout (with {ham10000.METADATA}), a CSV file, a folder with one "
    "folder of images per class (or with the folders train, val and test of these), a name that was given to "
    f"`hamcache data subset`, the word '{ham10000.NAME}' for what `hamcache download` fetched, or the word "
    f"'{DATASET}' for the one that hamcache draws itself."
)
UNLABELLED = "unlabelled"
"""Label of the images of a pool that have none."""
_CSV_SUFFIXES = (".csv", ".tsv", ".tab")


def read_dataset(
    dataset: str,
    *,
    workspace: Workspace,
    columns: Mapping[str, str] | None = None,
    name: str | None = None,
) -> ImageTable:
    """Read the image table of a data set.

    dataset: a folder in HAM10000's Kaggle layout, a CSV file, a folder of class folders, one that
        `hamcache cache import` made, the name of a folder in `workspace`/datasets (such as "ham10000", once it was
        downloaded), or "synthetic", which is drawn there when it is first used.
    columns: for a CSV: our column names mapped to the file's, see `data.readers.csv_table.read_csv_table`.
    name: the table's name; default: the name of the folder, or of the file without its suffix.

    Raises DatasetNotFoundError where `dataset` is none of these, TableError where its metadata is wrong.
    """
    if dataset == DATASET:
        _refuse_columns(columns, "the synthetic data set")
        return ham10000.read_table(_synthetic(workspace), name or DATASET)
    path = Path(dataset).expanduser().absolute()
    of_workspace = workspace.datasets.absolute() / dataset
    if not path.exists() and Path(dataset).name == dataset:
        subset = workspace.subset(dataset).absolute()
        path = of_workspace if of_workspace.is_dir() else subset if subset.is_file() else path
    if path.is_file():
        return _read_file(path, columns, name)
    if not path.is_dir():
        raise DatasetNotFoundError(f"there is no data set {dataset!r}{_nearest(dataset, path, workspace)} {FORMS}")
    if is_imported(path):
        _refuse_columns(columns, "a data set that came with imported features")
        return read_imported(path, name)
    if ham10000.find_metadata(path) is not None:
        _refuse_columns(columns, "a folder in HAM10000's layout")
        return ham10000.read_table(path, name)
    _refuse_columns(columns, "a folder of class folders")
    return read_class_folders(path, name)


def read_pool(
    pool: str, *, workspace: Workspace, columns: Mapping[str, str] | None = None, name: str | None = None
) -> ImageTable:
    """Read images that need no labels: a folder with images at any depth, a CSV, or whatever names a data set.

    Images without a label have the label `UNLABELLED`. The `image_id` in a folder is that of `read_class_folders`.

    Raises DatasetNotFoundError where there are no images, else as `read_dataset`.
    """
    path = Path(pool).expanduser().absolute()
    if path.is_file() and path.suffix.lower() in _CSV_SUFFIXES and not path.name.startswith("HAM10000_metadata"):
        return read_csv_table(path, name=name or safe_name(path.stem), columns=columns, unlabelled=UNLABELLED)
    if not path.is_dir() or is_imported(path) or ham10000.find_metadata(path) is not None:
        return read_dataset(pool, workspace=workspace, columns=columns, name=name)
    _refuse_columns(columns, "a folder of images")
    found = find_images(path)
    if not found:
        raise DatasetNotFoundError(f"Expected images in {path}, got none. Name a folder that holds some, or a CSV.")
    ids = ids_from_paths(found, path)
    frame = pd.DataFrame({"image_id": ids, "label": UNLABELLED, "group": ids}, dtype="str")
    frame["path"] = [str(path / inside) for inside in found]
    return build_table(name or safe_name(path.name), frame, source=path)


def must_be_drawn(dataset: str, workspace: Workspace) -> bool:
    """True for the synthetic data set, where reading it would draw it first, which takes a while."""
    return dataset == DATASET and not (workspace.datasets / DATASET / ham10000.METADATA).is_file()


def read_class_folders(folder: Path, name: str | None = None) -> ImageTable:
    """Read a folder that has one folder of images per class, or folders of parts (train, val, test) that have these.

    The label is the name of the first folder, below which images may lie at any depth; the image_id is the path
    inside `folder` without its suffix; each image is a group of its own. Where several images show one subject,
    describe them by a CSV with a group column instead, or a split will leak. Folders of parts become the column "part",
    which splits by such a column read (see `data.given_split`).

    Raises DatasetNotFoundError where the folder is of another kind, and says what was found.
    """
    folder = Path(folder).absolute()
    paths = find_images(folder)
    in_classes = [path for path in paths if len(Path(path).parts) > 1]
    labels = [Path(path).parts[0] for path in in_classes]
    if any(label.startswith("HAM10000_images") for label in labels):
        raise DatasetNotFoundError(
            f"{folder} holds images of HAM10000, but not {ham10000.METADATA}: put it there, or let `hamcache download` "
            "finish if it was broken off."
        )
    parts = [PART_WORDS.get(label.lower(), "") for label in labels]
    deep = all(len(Path(path).parts) > 2 for path in in_classes)
    if not in_classes or len(in_classes) < len(paths) or (all(parts) and not deep):
        raise DatasetNotFoundError(f"{folder} is not a data set: {_found(folder, paths, set(labels))} {FORMS}")
    ids = ids_from_paths(in_classes, folder)
    frame = pd.DataFrame({"image_id": ids, "label": labels, "group": ids}, dtype="str")
    frame["path"] = [str(folder / path) for path in in_classes]
    if all(parts):
        frame["label"] = pd.Series([Path(path).parts[1] for path in in_classes], dtype="str")
        frame[PART_COLUMN] = pd.Series(parts, dtype="str")
    return build_table(name or safe_name(folder.name), frame, source=folder)


def _read_file(path: Path, columns: Mapping[str, str] | None, name: str | None) -> ImageTable:
    is_ham10000 = path.name.lower().startswith("ham10000_metadata")
    if is_ham10000 and not columns:
        return ham10000.read_table(path.parent, name)
    if path.suffix.lower() not in _CSV_SUFFIXES:
        advice = " Unpack it first." if path.suffix.lower() in (".zip", ".tar", ".gz", ".tgz") else ""
        raise DatasetNotFoundError(f"{path} is a file, but not a CSV.{advice} {FORMS}")
    return read_csv_table(path, name=name or safe_name(path.stem), columns=columns)


def _synthetic(workspace: Workspace) -> Path:
    """The folder of the synthetic data set; draws it where it is absent or was not finished."""
    folder = workspace.datasets / DATASET
    folder.parent.mkdir(parents=True, exist_ok=True)
    # The lock keeps two commands that start together from drawing into one folder.
    with FileLock(folder.with_suffix(".lock")):
        if must_be_drawn(DATASET, workspace):  # its table is written last
            from hamcache.data.synthetic.collection import synthesize

            synthesize(folder)
    return folder


def _refuse_columns(columns: Mapping[str, str] | None, kind: str) -> None:
    if columns:
        raise TableError(f"`columns` ({', '.join(columns)}) are for a CSV file, but the data set is {kind}.")


def _nearest(dataset: str, path: Path, workspace: Workspace) -> str:
    """The end of a sentence on a data set that does not exist: the command that gets it, or a name like the one given.

    Such a name is one of the two words, that of a data set in the workspace, or that of a neighbour.
    """
    if dataset == ham10000.NAME:
        return ": `hamcache download` fetches it."
    words = [DATASET, ham10000.NAME]
    if workspace.datasets.is_dir():
        there = [path for path in workspace.datasets.iterdir() if path.is_dir() or path.suffix == ".csv"]
        words += [path.name if path.is_dir() else path.stem for path in there]
    words = words if dataset == path.name else []
    names = words
    if path.parent.is_dir():
        names = [*words, *(neighbour.name for neighbour in path.parent.iterdir())]
        where = "."
    else:
        where = f" (nor the folder {path.parent})."
    near = nearest(path.name, names)
    if near is None:
        return where
    return f": did you mean {near if near in words else str(path.with_name(near))!r}?"


def _found(folder: Path, images: list[str], labels: set[str]) -> str:
    """One sentence: what a folder that is not a data set holds, and what would help."""
    loose = [path for path in images if len(Path(path).parts) == 1]
    tables = sorted(path.name for path in folder.iterdir() if path.suffix.lower() in _CSV_SUFFIXES)
    if tables:
        return f"it holds {some_of(tables)}: give such a file itself, if it lists the images."
    if labels and not loose:
        return (
            f"its folders {some_of(sorted(labels))} look like parts of a split, but not all of their images lie in "
            "folders of classes: put each into that of its class, or give a CSV that lists the images of all."
        )
    if labels:
        return f"it holds {len(loose)} images beside its folders ({some_of(loose)}), so these have no label: move them."
    if loose:
        return f"it holds {len(loose)} images but no class folders: put each into the folder of its class."
    names = sorted(path.name for path in folder.iterdir())
    return f"it holds no images ({some_of(names)})." if names else "it is empty."
