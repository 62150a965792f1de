"""HAM10000 ("Human Against Machine with 10000 training images") in the layout of its Kaggle archive.

Source: Tschandl, Rosendahl, Kittler: The HAM10000 dataset, a large collection of multi-source dermatoscopic images of
common pigmented skin lesions. Scientific Data 5, 180161 (2018).
"""

from pathlib import Path

from hamcache.data.errors import DatasetNotFoundError
from hamcache.data.readers.csv_table import read_csv_table
from hamcache.data.table import ImageTable, safe_name

CLASS_NAMES = {
    "akiec": "Actinic keratoses and intraepithelial carcinoma (Bowen's disease)",
    "bcc": "Basal cell carcinoma",
    "bkl": "Benign keratosis-like lesions (solar lentigo, seborrheic keratosis, lichen-planus-like keratosis)",
    "df": "Dermatofibroma",
    "mel": "Melanoma",
    "nv": "Melanocytic nevi",
    "vasc": "Vascular lesions (angioma, angiokeratoma, pyogenic granuloma, hemorrhage)",
}
CLASSES = tuple(CLASS_NAMES)
CITATION = (
    "Tschandl P., Rosendahl C., Kittler H.: The HAM10000 dataset, a large collection of multi-source dermatoscopic "
    "images of common pigmented skin lesions. Scientific Data 5, 180161 (2018). doi:10.7910/DVN/DBW86T"
)
LICENCE = "CC BY-NC 4.0"

NAME = "ham10000"
METADATA = "HAM10000_metadata.csv"
COLUMNS = {"image_id": "image_id", "label": "dx", "group": "lesion_id"}

# Kaggle's name, and those under which the Harvard Dataverse gives the same file (with commas or tabs).
METADATA_NAMES = (METADATA, "HAM10000_metadata.tab", "HAM10000_metadata")

_FIRST_ID, _LAST_ID = "ISIC_0024306", "ISIC_0034320"


def is_ham10000(table: ImageTable) -> bool:
    """True where a table's images are HAM10000's, or some of them: by their ids and labels."""
    ids = table.frame["image_id"]
    named = ids.str.fullmatch(r"ISIC_\d{7}") & ids.between(_FIRST_ID, _LAST_ID)
    return bool(named.all()) and set(table.frame["label"]) <= set(CLASSES)


def find_metadata(folder: Path) -> Path | None:
    """The metadata file of HAM10000 in `folder`, or in a folder in it that is not hidden; None where there is none."""
    for place in [folder, *sorted(path for path in folder.iterdir() if path.is_dir() and path.name[0] != ".")]:
        for name in METADATA_NAMES:
            if (place / name).is_file():
                return place / name
    return None


def read_table(folder: Path, name: str | None = None) -> ImageTable:
    """The image table of a folder: the group is the lesion, the classes are `CLASSES`.

    The images may lie in the two part folders, beside the metadata, or one level deeper. They are found by their
    image_id, so that the archive's second copy of the folders (in lower case) adds nothing.

    Raises DatasetNotFoundError where there is no metadata file, TableError where it is wrong.
    """
    folder = Path(folder).absolute()
    metadata = find_metadata(folder) if folder.is_dir() else None
    if metadata is None:
        raise DatasetNotFoundError(f"Expected {METADATA} in {folder} or one level below it, but found none.")
    name = name if name is not None else safe_name(folder.name)
    return read_csv_table(metadata, name=name, columns=COLUMNS, classes=CLASSES, images_in=folder)
