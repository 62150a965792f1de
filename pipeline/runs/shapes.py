"""Shapes of the JSON files of artefacts: what must be in them, whoever wrote them; further keys may be.

They check and are thrown away: a reader goes on with the plain values. A default stands for a key that may be missing.
"""

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

Digests = dict[str, str]
Names = Annotated[list[str], Field(min_length=1)]
Numbers = dict[str, float]
PLAIN = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)


class Shape(BaseModel):
    """A JSON object; `sha256` and `seal` as `runs.sealed` writes them."""

    model_config = PLAIN
    sha256: Digests = {}
    seal: str = ""


class Summary(Shape):
    """Words of a run for lists."""

    head: str
    features: str
    dataset: str
    policy: str
    seed: int


class TableColumn(Shape):
    """A column of an image table that a run was trained on; without words one of numbers."""

    name: str
    words: list[str] | None = None
    unseen: list[str] = []


class MetadataOf(Shape):
    """The columns of an image table that a run was trained on."""

    columns: Annotated[list[TableColumn], Field(min_length=1)]
    values: str


class Provenance(Shape):
    """Origin of a run's numbers."""

    fingerprint: str
    finished: str
    summary: Summary
    seconds: Numbers
    table: str = ""
    split: str | list[str] = ""
    stores: dict[str, str] = {}
    keys: dict[str, dict[str, Any]] = {}
    left_out: dict[str, str] = {}
    images: dict[str, int] = {}
    tau: float | None = None
    positive: str | None = None
    thresholds: Numbers = {}
    versions: dict[str, str] = {}
    recipes: list[dict[str, Any]] = []
    metadata: MetadataOf | None = None


class Class(Shape):
    """An entry of `classes.json`."""

    label: str = Field(alias="class")
    name: str | None = None


class GridSettings(Shape):
    """The cells of a grid, and what they were scored by."""

    metric: str
    head: str
    backbones: Names
    augmentations: Names
    parts: Names
    dataset: str = ""
    policy: str = ""
    views: dict[str, int] = {}
    seeds: list[int] = []
    majority: Numbers = {}
    finished: str = ""


class Session(Shape):
    """A stretch in which a sweep was run without a break."""

    started: str
    seconds: float
    trials: int


class SweepSummary(Shape):
    """Progress of a sweep, and its cost."""

    state: str
    data: str = ""
    objective: str = ""
    trials: int = 0
    finished: int = 0
    stopped: int = 0
    failed: int = 0
    exhausted: bool = False
    best: Numbers | None = None
    jobs: int | None = None
    sessions: list[Session] = []
    seconds: float = 0.0
    seconds_a_trial: float | None = None
    overhead: Numbers | None = None
    final_run: str | None = None
    settings: str = ""


class Sizes(Shape):
    """Images of one draw of a leakage demonstration."""

    test: Annotated[int, Field(gt=0)]
    test_with_sibling: int


class DemoSummary(Shape):
    """Settings, sizes and origin of a leakage demonstration."""

    metric: str
    draws: Annotated[list[Sizes], Field(min_length=1)]
    failed: dict[str, str]
    fingerprint: str = ""


class Bound(Shape):
    """A score with its interval, whose ends are not known where no resample gives one."""

    value: float
    low: float | None
    high: float | None
    resamples: int
    groups: int


class Corrupted(Shape):
    """Scores of one corruption at one severity; without a corruption those of the images as they are."""

    corruption: str | None
    severity: int
    scores: dict[str, Bound]
    coverage: Bound
    unlike: Bound | None = None


class CoverageOf(Shape):
    """Prediction sets: the coverage promised, and what they held."""

    promised: float
    share: Bound
    size: Bound
    own: Bound


class EvaluationRecord(Shape):
    """Settings, scores and origin of an evaluation."""

    fingerprint: str
    finished: str
    run: str
    dataset: str
    objective: str
    part: str
    classes: Names
    run_classes: Names
    columns: list[int]
    images: int
    lesions: int
    left_out: dict[str, int]
    scores: dict[str, Bound]
    own: dict[str, Bound]
    difference: dict[str, Bound]
    temperature: float
    calibrated: dict[str, Bound]
    own_calibrated: dict[str, Bound]
    coverage: CoverageOf
    unlike: Bound | None = None
    corrupted: list[Corrupted] = []
    notes: list[str] = []


METRICS: TypeAdapter[Any] = TypeAdapter(
    Annotated[dict[str, Numbers], Field(min_length=1)], config=ConfigDict(allow_inf_nan=False)
)
"""Part -> name -> score."""
CLASSES: TypeAdapter[Any] = TypeAdapter(Annotated[list[Class], Field(min_length=1)])
PROVENANCE, GRID, SWEEP, DEMO, EVALUATION = map(
    TypeAdapter[Any], (Provenance, GridSettings, SweepSummary, DemoSummary, EvaluationRecord)
)
