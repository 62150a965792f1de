"""Everything a features root holds: find stores, remove them, sweep up leftovers."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from hamcache.cache.chunk import chunk_of
from hamcache.cache.description import CHUNK_ROWS
from hamcache.cache.errors import (
    AmbiguousStoreError,
    CorruptStoreError,
    MissingFeaturesError,
    OldStoreError,
    extract_command,
)
from hamcache.cache.keys import FeatureKey, explain, split_digits
from hamcache.cache.storage import Root
from hamcache.cache.store import FeatureStore

IMPORTING = ".import-"
"""Beginning of the hidden folders in which an archive's stores are rebuilt (below their data set's folder)."""


@dataclass(frozen=True)
class Leftover:
    """Something `gc` would free: a path below the root, its bytes, and why nothing needs it."""

    path: str
    bytes: int
    why: str


class Catalogue:
    """The stores below a features root (`<data set>/<backbone>/<augmentation>-<short key>.zarr`).

    A store is opened once: whoever waits for another process to change one asks a new catalogue.
    """

    def __init__(self, root: Root | str | Path) -> None:
        self.root = root if isinstance(root, Root) else Root(root)
        self._opened: dict[str, FeatureStore] = {}

    def folders(self, dataset: str = "*") -> list[str]:
        """Folders that look like stores, relative to the root."""
        return self.root.glob(f"{dataset}/*/*.zarr")

    def datasets(self) -> list[str]:
        """Data sets with stores, or with what a killed import left."""
        return sorted({path.split("/")[0] for path in [*self.folders(), *self.root.glob(f"*/{IMPORTING}*")]})

    def stores(self, dataset: str = "*") -> list[FeatureStore]:
        """Every store that opens; leftovers of a killed creation and damaged ones are passed over (see `broken`)."""
        return [store for store in self._all(dataset).values() if isinstance(store, FeatureStore)]

    def broken(self, dataset: str = "*") -> dict[str, str]:
        """Folders that should be stores but don't open, with the reason."""
        opened = self._all(dataset)
        return {folder: str(store) for folder, store in opened.items() if not isinstance(store, FeatureStore)}

    def get(self, key: FeatureKey) -> FeatureStore | None:
        """The store of exactly this key, or None where there is none yet, or only one cut off while it was made.

        Raises CorruptStoreError, or OldStoreError where it has another version's layout.
        """
        try:
            return self._open(key.folder)
        except FileNotFoundError:
            return None

    def find(
        self,
        dataset: str = "*",
        backbone: str | None = None,
        augmentation: str | None = None,
        precision: str | None = None,
        seed: int | None = None,
    ) -> list[FeatureStore]:
        """Stores that fit every given field.

        `backbone` is `NAME`, `NAME:KIND` for features of another kind than the default, or either with `@` and the
        first digits of a key behind it. Raises OldStoreError where none fits and there are stores of another layout.
        """
        name, digits = split_digits(backbone or "")
        fitting = [
            store
            for store in self.stores(dataset)
            if (not name or store.key.features_name == name)
            and store.key.digest.startswith(digits)
            and (augmentation is None or store.key.augmentation_name == augmentation)
            and (precision is None or store.key.precision == precision)
            and (seed is None or store.key.seed == seed)
        ]
        for unread in () if fitting else self._all(dataset).values():
            if isinstance(unread, OldStoreError):
                raise unread
        return fitting

    def one(
        self,
        dataset: str,
        backbone: str,
        augmentation: str,
        *,
        precision: str | None = None,
        seed: int | None = None,
        views: int = 1,
        source: str | None = None,
    ) -> FeatureStore:
        """The one store that fits.

        Args:
            dataset: name of the data set.
            backbone: full name, as in `find`.
            augmentation: name of the augmentation.
            precision: `fp32` or `bf16`; None for either.
            seed: seed of the draws; None for any.
            views: views that the caller wants (for the advice in the error).
            source: the user's `--dataset` (for the advice in the error); None for `dataset`.

        Raises:
            MissingFeaturesError: no store fits; names the command that makes one.
            AmbiguousStoreError: several fit; says in what they differ and how to choose.
        """
        fitting = self.find(dataset, backbone, augmentation, precision, seed)
        if not fitting:
            here = sorted({f"{s.key.features_name}/{s.key.augmentation_name}" for s in self.stores(dataset)})
            raise MissingFeaturesError(
                f"Expected features of {backbone} under augmentation {augmentation!r} for data set {dataset!r} in "
                f"{self.root.url}, got {', '.join(here) or 'nothing of this data set'}. Make them with "
                f"`{extract_command(source or dataset, split_digits(backbone)[0], augmentation, views)}`."
            )
        if len(fitting) > 1:
            fields = [field for field, _, _ in explain(fitting[0].key, fitting[1].key)]
            choices = " or ".join(f"{s.key.features_name}@{s.key.short[:6]}" for s in fitting)
            raise AmbiguousStoreError(
                f"Expected one store of {backbone} under {augmentation!r}, got {len(fitting)}, which differ in "
                f"{', '.join(fields)}. "
                f"Name one: {choices}."
            )
        return fitting[0]

    def below(self, name: str) -> str:
        """A folder's name below the root, where it is given so, absolute, or from the current folder."""
        root, path = self.root.path.rstrip("/") + "/", str(Path(name).absolute())
        return path.removeprefix(root) if path.startswith(root) else str(PurePosixPath(name)).removeprefix(root)

    def by_prefix(self, name: str) -> FeatureStore:
        """A store by its folder (see `below`), or by the first digits of its key."""
        folder = self.below(name)
        if folder in self.folders():
            return self._open(folder)
        fitting = [store for store in self.stores() if store.key.digest.startswith(name)]
        if len(fitting) != 1:
            raise (AmbiguousStoreError if fitting else MissingFeaturesError)(
                f"Expected the folder of one store or the first digits of its key, got {name!r}, which fits "
                f"{len(fitting)}. `hamcache cache ls` lists the stores."
            )
        return fitting[0]

    def layout(self, dataset: str, image_ids: Sequence[str]) -> tuple[list[str], int]:
        """Row order and rows of a chunk of a new store: those of the data set's other stores, so that tasks coincide.

        Without others the images are sorted.
        """
        for sibling in self.stores(dataset):
            with suppress(CorruptStoreError):
                return list(sibling.image_ids), sibling.chunk_rows
        return sorted(image_ids), CHUNK_ROWS

    def remove(self, folder: str) -> None:
        """Remove a store (or what is left of one), and its backbone's folder if that is empty then."""
        self.root.remove(folder)
        self._opened.pop(folder, None)
        parent = folder.rsplit("/", 1)[0]
        if self.root.is_local and not any(Path(self.root.join(parent)).iterdir()):
            Path(self.root.join(parent)).rmdir()

    def leftovers(self) -> list[Leftover]:
        """Partial files of killed writers, stores whose creation was cut off, chunks outside a store's bounds."""
        leftovers = []
        unfinished = [folder for folder in self.folders() if self._unfinished(folder)]
        for folder in unfinished:
            leftovers.append(Leftover(folder, sum(self.root.files(folder).values()), "creation was cut off"))
        imports = self.root.glob(f"*/{IMPORTING}*")
        for folder in imports:
            leftovers.append(Leftover(folder, sum(self.root.files(folder).values()), "import that was killed"))
        for path, size in self.root.files("").items():
            if path.endswith(".partial") and not any(path.startswith(f"{u}/") for u in [*unfinished, *imports]):
                leftovers.append(Leftover(path, size, "partial file of a writer that was killed"))
        for store in self.stores():
            with suppress(CorruptStoreError):
                for path, size in self.root.files(store.folder).items():
                    place = chunk_of(path.removeprefix(f"{store.folder}/"))
                    if place and place[0] >= store.n_chunks:
                        leftovers.append(Leftover(path, size, "chunk outside its store's rows"))
        return leftovers

    def _open(self, folder: str) -> FeatureStore:
        if folder not in self._opened:
            self._opened[folder] = FeatureStore.open(self.root, folder)
        return self._opened[folder]

    def _all(self, dataset: str = "*") -> dict[str, FeatureStore | Exception]:
        """The store in each folder, or the reason that it does not open."""
        stores: dict[str, FeatureStore | Exception] = {}
        for folder in self.folders(dataset):
            try:
                stores[folder] = self._open(folder)
            except (CorruptStoreError, OldStoreError, FileNotFoundError) as error:
                stores[folder] = error
        return stores

    def _unfinished(self, folder: str) -> bool:
        """True if a folder is a store whose description, written last, never came."""
        try:
            self._open(folder)
        except FileNotFoundError:
            return True
        except (CorruptStoreError, OldStoreError):
            pass
        return False
