"""Share features: stores and the table of their images in one file, for people who then need neither images nor nets.

What lies in the file beside the stores (`sharing.archive`): the whole image table, so that splits are the same
elsewhere (`data.readers.imported`); which images are quarantined; the licence, and how to use it all, in words.
"""

import json
import shlex
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from hamcache.cache.catalogue import Catalogue
from hamcache.cache.errors import FeatureArchiveError, MissingFeaturesError
from hamcache.cache.quarantine import BadImage, Quarantine
from hamcache.cache.sharing.archive import Archive, OnProgress, StoreEntry, write_archive
from hamcache.cache.sharing.importing import ImportedStore, file_versions, import_stores
from hamcache.cache.storage import Root
from hamcache.cache.store import FeatureStore
from hamcache.data.dataset import Dataset, DatasetWords, open_dataset
from hamcache.data.errors import DataError, some_of
from hamcache.data.ham10000 import CITATION, LICENCE, is_ham10000
from hamcache.data.readers.imported import (
    MARKER,
    TABLE,
    Terms,
    is_imported,
    joined,
    read_imported,
    read_terms,
    table_files,
    write_imported,
)
from hamcache.data.table import ImageTable
from hamcache.data.workspace import Workspace
from hamcache.pipeline.errors import FeaturesError

README = "README.txt"
QUARANTINE = "quarantine.json"


@dataclass(frozen=True)
class Imported:
    """Outcome of an import.

    Attributes:
        dataset: folder to give as `--dataset`.
        table: its images.
        stores: what became of each store.
        terms: licence and citation.
        example: a command that trains a head on one of the stores.
    """

    dataset: Path
    table: ImageTable
    stores: list[ImportedStore]
    terms: Terms
    example: str


def chosen_stores(catalogue: Catalogue, names: Sequence[str]) -> list[FeatureStore]:
    """Stores by their folders or keys, and all stores of a data set (`NAME`) or of a backbone (`DATA_SET/BACKBONE`).

    Raises:
        MissingFeaturesError: nothing fits a name.
        AmbiguousStoreError: the first digits of a key fit several stores.
    """
    chosen: dict[str, FeatureStore] = {}
    for name in names:
        inside = [folder for folder in catalogue.folders() if folder.startswith(catalogue.below(name) + "/")]
        stores = [FeatureStore.open(catalogue.root, folder) for folder in inside] or [catalogue.by_prefix(name)]
        chosen |= {store.folder: store for store in stores}
    if not chosen:
        raise MissingFeaturesError(f"No store was named; {catalogue.root.url} holds {len(catalogue.folders())}.")
    return [chosen[folder] for folder in sorted(chosen)]


def source_of(stores: Sequence[FeatureStore]) -> str:
    """The words given as `--dataset` when the stores were extracted."""
    return str(stores[0].provenance.get("dataset", ""))


def dataset_of(stores: Sequence[FeatureStore], words: DatasetWords, workspace: Workspace) -> Dataset:
    """The data set that stores are about, by the name that they know.

    Args:
        stores: of one data set.
        words: the data set, as the command line takes it; the name is that of the stores.
        workspace: where the synthetic one lies.

    Raises:
        FeaturesError: that data set is not there any more, or lacks images that the stores hold.
    """
    name = stores[0].key.dataset
    advice = "Say where the data set is with --dataset (and --column, as for `hamcache extract`)."
    try:
        dataset = open_dataset(replace(words, name=name), workspace)
    except DataError as error:
        raise FeaturesError(f"Expected the data set {name!r} at {words.dataset!r}, got: {error} {advice}") from error
    known = set(dataset.table.frame["image_id"])
    strangers = [image_id for store in stores for image_id in store.image_ids if image_id not in known]
    if strangers:
        raise FeaturesError(
            f"Expected the images that the stores of {name!r} hold, got {words.dataset}, which lacks "
            f"{len(set(strangers))} of them ({some_of(strangers, 3)}). {advice}"
        )
    return dataset


def terms_of(dataset: Dataset, given: Terms = Terms()) -> Terms:  # noqa: B008 (frozen)
    """Licence and citation of a data set: those given, those it came with, or HAM10000's if it is that."""
    known = Terms(LICENCE, CITATION) if is_ham10000(dataset.table) else Terms()
    folder = Path(dataset.words.dataset)
    if is_imported(folder):
        known = read_terms(folder)
    return Terms(given.licence or known.licence, given.citation or known.citation)


def export_features(
    stores: Sequence[FeatureStore],
    table: ImageTable,
    file: Path,
    terms: Terms,
    on_progress: OnProgress | None = None,
) -> None:
    """Write stores and their image table into one archive.

    Args:
        stores: of one data set.
        table: its whole table.
        file: the archive; written whole or not at all.
        terms: licence and citation.
        on_progress: called after each file of the stores.

    Raises:
        FeaturesError: the stores were made from different versions of an image.
        FeatureArchiveError, CorruptStoreError, CacheInUseError: see `cache.sharing.archive.write_archive`.
    """
    quarantine = Quarantine(stores[0].root, table.name)
    digests = file_digests_of(stores)
    bad = [i for i in quarantine.images() if i.image_id in set(table.frame["image_id"]) - digests.keys()]
    digests |= {image.image_id: image.digest for image in bad}
    beside = {**table_files(table, digests, terms), README: _readme(stores, table, terms)}
    beside[QUARANTINE] = json.dumps([asdict(image) for image in bad], indent=1) + "\n"
    write_archive(file, stores, {name: text.encode() for name, text in beside.items()}, on_progress)


def file_digests_of(stores: Sequence[FeatureStore]) -> dict[str, str]:
    """The sha256 of the file that each image's features were made from.

    Raises:
        FeaturesError: not all of them were made from the same file.
    """
    versions = file_versions(stores)
    differing = sorted(image_id for image_id, digests in versions.items() if len(digests) > 1)
    if differing:
        raise FeaturesError(
            f"Expected all features of an image made from one file, got those of {some_of(differing)} of several "
            "versions of it. Run the `hamcache extract` commands that made the stores again."
        )
    return {image_id: digest for image_id, (digest,) in versions.items()}


def import_features(file: Path, workspace: Workspace, root: Root, on_progress: OnProgress | None = None) -> Imported:
    """Put an archive's stores into the cache, and its image table into `workspace/datasets/<name>-imported`.

    All of the archive is checked before anything is changed. Doing it twice changes nothing.

    Args:
        file: the archive.
        workspace: gets the table.
        root: features root.
        on_progress: called as the stores are checked, with the chunks done and their number.

    Raises:
        FeatureArchiveError: no archive, or a damaged one.
        StoreConflictError: see `cache.sharing.importing.import_stores`.
        TableError: the table contradicts the one of an earlier import.
    """
    with Archive.open(file) as archive:
        folder = workspace.datasets / f"{archive.dataset}-imported"
        theirs, terms = _table_in(archive)
        table = joined(read_imported(folder), theirs) if is_imported(folder) else theirs
        bad = _quarantined_in(archive)
        about = {"dataset": str(folder), "archive": archive.digest}
        stores = import_stores(archive, root, about, on_progress)
        example = _example(folder, archive.stores[0])
    quarantine = Quarantine(root, theirs.name)
    known = {image.image_id for image in quarantine.images()}
    quarantine.add(*(image for image in bad if image.image_id not in known))
    write_imported(folder, table, terms)
    return Imported(folder, read_imported(folder), stores, terms, example)


def _example(dataset: Path, entry: StoreEntry) -> str:
    words = ["hamcache", "train", "--dataset", str(dataset), "--features", entry.key.features_name]
    if entry.key.augmentation_name != "none":
        words += ["--augmentation", entry.key.augmentation_name, "--views", str(entry.n_views)]
    return shlex.join(words)


def _table_in(archive: Archive) -> tuple[ImageTable, Terms]:
    with tempfile.TemporaryDirectory() as folder:
        for name in (TABLE, MARKER):
            content = archive.beside(name)
            if content is None:
                raise FeatureArchiveError(f"{archive.path} can't be used: it has no {name}.")
            (Path(folder) / name).write_bytes(content)
        table, terms = read_imported(Path(folder)), read_terms(Path(folder))
    if table.name != archive.dataset:
        raise FeatureArchiveError(f"{archive.path} can't be used: its table is of {table.name!r}.")
    return table, terms


def _quarantined_in(archive: Archive) -> list[BadImage]:
    try:
        bad = [BadImage(**image) for image in json.loads(archive.beside(QUARANTINE) or b"[]")]
    except (ValueError, TypeError) as error:
        raise FeatureArchiveError(f"{archive.path} can't be used: its {QUARANTINE} is wrong ({error}).") from error
    if not all(isinstance(value, str) for image in bad for value in asdict(image).values()):
        raise FeatureArchiveError(f"{archive.path} can't be used: its {QUARANTINE} is wrong.")
    return bad


def _readme(stores: Sequence[FeatureStore], table: ImageTable, terms: Terms) -> str:
    """The text for a person who looks into the archive."""
    lines = [f"Features of the {len(table):,} images of the data set {table.name}, without the images.", ""]
    lines += [
        f"- {store.key.features_name}, augmentation {store.key.augmentation_name}, {store.n_views} views, "
        f"{store.dim} numbers each, {store.key.precision}"
        for store in stores
    ]
    lines += ["", f"Licence of the data: {terms.licence or 'not stated; ask whoever gave you this file'}"]
    if terms.citation:
        lines.append(f"Cite: {terms.citation}")
    lines += [
        "",
        "With hamcache:    hamcache cache import THIS_FILE",
        "Without:          unzip it; zarr.open_group('features/...zarr')['features'] is [image, view, dim], and",
        "                  rows.json beside it has the image id of each row; table.csv has their labels.",
    ]
    return "\n".join(lines) + "\n"
