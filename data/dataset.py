"""A data set as everything here takes it: its image table, the digests of its files, and the words it was asked by."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from hamcache.data.digests import file_digests
from hamcache.data.readers.resolve import must_be_drawn, read_dataset
from hamcache.data.table import ImageTable
from hamcache.data.workspace import Workspace


@dataclass(frozen=True)
class DatasetWords:
    """The words that name a data set, on the command line and in a configuration.

    Attributes:
        dataset: A folder, a file, or a name, see `data.readers.resolve.read_dataset`.
        columns: For a CSV: our column names mapped to the file's.
        name: The table's name; None: from the folder or file.
    """

    dataset: str
    columns: Mapping[str, str] = field(default_factory=dict, hash=False)
    name: str | None = None

    @property
    def label(self) -> str:
        """A short name for titles and files, known before the table is read."""
        return self.name or Path(self.dataset).stem

    def must_be_drawn(self, workspace: Workspace) -> bool:
        """True for the synthetic data set, where reading it would draw it first."""
        return must_be_drawn(self.dataset, workspace)

    def table(self, workspace: Workspace) -> ImageTable:
        """The image table.

        Raises:
            DatasetNotFoundError, TableError: See `data.readers.resolve.read_dataset`.
        """
        return read_dataset(self.dataset, workspace=workspace, columns=self.columns, name=self.name)


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set whose files are digested when that is first needed.

    Attributes:
        words: The words that it was asked for by, for the advice in errors.
        table: The image table, whole.
        memory: The file that remembers digests; None: they are computed anew.
        rehash: Read every file again instead of trusting its size and time of change.
    """

    words: DatasetWords
    table: ImageTable
    memory: Path | None = None
    rehash: bool = False

    @property
    def name(self) -> str:
        """The table's name, by which features are found."""
        return self.table.name

    @cached_property
    def digests(self) -> dict[str, str]:
        """sha256 of each image's file, by image id; see `data.digests.file_digests`."""
        return file_digests(self.table, self.memory, self.rehash)

    def of(self, table: ImageTable) -> "Dataset":
        """These images of it alone, with the digests that are known already.

        table: the images, out of this one's.
        """
        part = Dataset(self.words, table)
        part.__dict__["digests"] = {image_id: self.digests[image_id] for image_id in table.frame["image_id"]}
        return part

    def correct(self, read: Mapping[str, str]) -> None:
        """Hash files again whose bytes turned out to have other digests than these, here and in the memory.

        read: the digests that somebody found who read the bytes, by image id.
        """
        wrong = [image_id for image_id, digest in read.items() if digest != self.digests[image_id]]
        if wrong:
            self.digests.update(file_digests(self.table.subset(wrong), self.memory, rehash=True))


def open_dataset(words: DatasetWords | str, workspace: Workspace, *, rehash: bool = False) -> Dataset:
    """Read a data set's image table; a text stands for words without columns and name.

    Raises:
        DatasetNotFoundError, TableError: See `data.readers.resolve.read_dataset`.
    """
    words = DatasetWords(words) if isinstance(words, str) else words
    table = words.table(workspace)
    return Dataset(words, table, workspace.digests(table.name), rehash)
