"""The workspace: where everything that is downloaded or made lies, and how its folders are called."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Workspace:
    """A workspace's folders; none of them need exist yet.

    Attributes:
        path: The folder of the workspace.
        features_url: Where the feature stores lie, if not in `path`: a folder or an fsspec URL (`s3://...`).
    """

    path: Path = Path("workspace")
    features_url: str | None = None

    def __str__(self) -> str:
        return str(self.path)

    def __fspath__(self) -> str:
        return str(self.path)

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    @property
    def features(self) -> str:
        """The features root: a folder or a URL."""
        return self.features_url or str(self.path / "features")

    @property
    def datasets(self) -> Path:
        """Data sets that were downloaded, drawn or imported, a folder each."""
        return self.path / "datasets"

    def subset(self, name: str) -> Path:
        """The table of a subset that was given this name as a data set."""
        return self.datasets / f"{name}.csv"

    @property
    def augmentations(self) -> Path:
        """Augmentations of one's own, a YAML file of the user's; it need not be there."""
        return self.path / "augmentations.yaml"

    @property
    def runs(self) -> Path:
        """Finished runs, a folder each."""
        return self.path / "runs"

    @property
    def sweeps(self) -> Path:
        """Sweeps, a folder each."""
        return self.path / "sweeps"

    @property
    def grids(self) -> Path:
        """Grids, a folder each."""
        return self.path / "grids"

    @property
    def studies(self) -> Path:
        """Studies, a folder each: table, figures, pictures, and when the test set was opened."""
        return self.path / "studies"

    @property
    def evaluations(self) -> Path:
        """Evaluations of runs on data sets that they have not seen, a folder each."""
        return self.path / "evaluations"

    @property
    def leakage(self) -> Path:
        """Leakage demonstrations, a folder each."""
        return self.path / "leakage"

    @property
    def curves(self) -> Path:
        """Tables and pictures of scores by the number of labels."""
        return self.path / "curves"

    @property
    def suggestions(self) -> Path:
        """Images suggested for labelling, and trials of ways to choose them: tables and pictures."""
        return self.path / "suggestions"

    @property
    def maps(self) -> Path:
        """Maps of features: places of the images, and their thumbnails; made again when missing."""
        return self.path / "maps"

    @property
    def decoded(self) -> Path:
        """Decoded images for networks that are trained from them, a folder each data set; made again when missing."""
        return self.path / "images"

    @property
    def checkpoints(self) -> Path:
        """Checkpoints of trainings that are under way, a folder each run."""
        return self.path / "checkpoints"

    def digests(self, dataset: str) -> Path:
        """The file that remembers the digests of a data set's files."""
        return self.path / "digests" / f"{dataset}.csv"
