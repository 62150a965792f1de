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


METRICS: TypeAdapter[Any] = TypeAdapter(
    Annotated[dict[str, Numbers], Field(min_length=1)], config=ConfigDict(allow_inf_nan=False)
)
"""Part -> name -> score."""
CLASSES: TypeAdapter[Any] = TypeAdapter(Annotated[list[Class], Field(min_length=1)])
PROVENANCE, GRID, SWEEP, DEMO = map(TypeAdapter[Any], (Provenance, GridSettings, SweepSummary, DemoSummary))
