"""Any CSV as an image table, a curation or a split: read to the last letter, or refused by one short error."""

import csv
import io
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hamcache.data.curation import read_curation
from hamcache.data.errors import DataError
from hamcache.data.files import csv_text, read_csv
from hamcache.data.readers.csv_table import read_csv_table
from hamcache.data.splits import Split, make_folds, make_split
from hamcache.data.summary import summarise
from hamcache.data.table import ImageTable
from tests.fuzz.conftest import examples, is_refused_or
from tests.fuzz.words import hostile

DIGITS = "9" * 100_000
HEADER = "image_id,path,label\n"
HOSTILE_CSV = {
    "a NUL": f"{HEADER}a,a\0.jpg,x\nb,b.jpg,y\n",
    "a million columns": ",".join(f"c{n}" for n in range(10**6)) + "\n" + "1" + ",1" * (10**6 - 1) + "\n",
    "one name for many columns": "c" + ",c" * 10**5 + "\n1\n",
    "a huge field": f"{HEADER}a,{'x' * 10**6},y\n",
    "a huge label": f"{HEADER}a,a.jpg,{'x' * 100_000}\n",
    "a huge image id": f"{'image_id,path,label'}\n{'a' * 100_000},b,c\n",
    "a huge path": f"{HEADER}a,{'a/' * 5000}x.jpg,c\n",
    "UTF-16": f"{HEADER}a,b,c\n".encode("utf-16"),
    "Latin-1": f"{HEADER}a,b,\xe9\n".encode("latin-1"),
    "an open quote": f'{HEADER}a,"b,c\n',
    "nothing": "",
    "a header": HEADER,
    "ragged rows": f"{HEADER}a\nb,c,d,e\n" * 1000,
    "one id for all": HEADER + "a,b,c\n" * 20_000,
    "no id at all": HEADER + ",b,c\n" * 60_000,
    "a class for each image": HEADER + "".join(f"i{n},b,c{n}\n" for n in range(20_000)),
    "half a character": f"{HEADER}a,\udcff,c\n",
    "only NULs": b"\0" * 1000,
}


@pytest.mark.parametrize("content", HOSTILE_CSV.values(), ids=HOSTILE_CSV)
def test_hostile_csv_is_refused_in_a_few_lines(content: str | bytes, tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogateescape"))
    with pytest.raises(DataError) as told:
        read_csv_table(path, name="table")
    assert len(str(told.value)) < 2000 and len(str(told.value).splitlines()) < 10


@pytest.mark.parametrize("number", [DIGITS, f"-{DIGITS}", f"1e{DIGITS}", "1e400", "1" * 30])
def test_numbers_that_no_double_holds_stay_text(number: str, tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text(f"image_id,path,label,age\na,a.jpg,x,{number}\nb,b.jpg,y,2\n")
    assert list(read_csv_table(path, name="table").frame["age"]) == [number, "2"]


@pytest.mark.parametrize("kind", ["pipe", "device", "folder"])
def test_what_is_no_file_is_refused_at_once(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    {"pipe": os.mkfifo, "device": lambda p: p.symlink_to("/dev/zero"), "folder": Path.mkdir}[kind](path)
    assert is_refused_or(lambda: read_csv(path)) is None


CELLS = st.sampled_from(["a", "b", "1.jpg", "x/2.jpg", "mel", "nv", "g1", "1", "1.5", "-0", ""]) | hostile()
NAMES = st.sampled_from(["image_id", "path", "label", "group", "reason", "into", "part", "age", "sha256"]) | hostile()


@st.composite
def tables(draw: st.DrawFn) -> bytes:
    """A CSV: mostly of rows that fit, sometimes not, sometimes with bytes cut out or put in."""
    header = draw(st.lists(NAMES, min_size=1, max_size=5, unique=bool(draw(st.integers(0, 4)))))
    rows = draw(st.lists(st.lists(CELLS, min_size=len(header), max_size=len(header) + 1), max_size=6))
    kept = [row[: len(header)] if draw(st.integers(0, 9)) else row for row in rows]
    text = io.StringIO(newline="")
    writer = csv.writer(
        text, delimiter=draw(st.sampled_from(",;\t")), lineterminator=draw(st.sampled_from(["\n", "\r\n"]))
    )
    writer.writerows([header, *kept])
    content = text.getvalue().encode("utf-8", "surrogatepass")
    if draw(st.integers(0, 4)):
        return content
    at = draw(st.integers(0, len(content)))
    return content[:at] + draw(st.binary(max_size=4)) + content[at + draw(st.integers(0, 10)) :]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tables") / "table.csv"


@examples(150)
@given(content=tables())
def test_any_csv_is_refused_or_read_back_as_it_is_written(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    read = is_refused_or(lambda: read_csv(file)[0])
    if read is not None and not any("\r" in str(cell) for cell in [*read.columns, *read.to_numpy().ravel()]):
        file.write_text(csv_text(read), encoding="utf-8", newline="")
        again = is_refused_or(lambda: read_csv(file)[0])
        assert again is None or again.equals(read) or len(read.columns) == 1


@examples(80)
@given(content=tables(), ours=st.sampled_from(["image_id", "path", "label", "group"]), theirs=NAMES)
def test_any_csv_as_an_image_table_is_refused_or_can_be_looked_at(
    file: Path, content: bytes, ours: str, theirs: str
) -> None:
    file.write_bytes(content)
    for columns in ({}, {ours: theirs}):
        table = is_refused_or(lambda columns=columns: read_csv_table(file, name="table", columns=columns))
        if table is not None:
            assert table.frame["image_id"].is_unique and set(table.frame["label"]) <= set(table.classes)
            is_refused_or(lambda table=table: summarise(table, None))
            for deal in (make_split, make_folds):
                is_refused_or(lambda table=table, deal=deal: deal(table, policy="grouped"))


@examples(100)
@given(content=tables(), which=st.booleans())
def test_any_csv_as_a_curation_is_refused_or_read(file: Path, known: ImageTable, content: bytes, which: bool) -> None:
    file.write_bytes(content)
    is_refused_or(lambda: read_curation(known, *((file, None) if which else (None, file))))


@pytest.fixture(scope="module")
def known(tmp_path_factory: pytest.TempPathFactory) -> ImageTable:
    """A table of images a, b and more, in groups g0, g1 and more."""
    path = tmp_path_factory.mktemp("words") / "known.csv"
    names = ["a", "b", "x", *(f"i{n}" for n in range(40))]
    rows = [f"{name},{name}.jpg,{('mel', 'nv')[n % 2]},g{n // 2}\n" for n, name in enumerate(names)]
    path.write_text("image_id,path,label,group\n" + "".join(rows))
    return read_csv_table(path, name="known")


@pytest.fixture(scope="module")
def split(known: ImageTable) -> Split:
    return make_split(known, "grouped")


@examples(60)
@given(at=st.integers(0, 3000), put=st.binary(max_size=6), cut=st.integers(0, 40))
def test_a_damaged_split_is_refused_or_the_same(file: Path, split: Split, at: int, put: bytes, cut: int) -> None:
    split.save(file)
    content = file.read_bytes()
    at %= len(content)
    file.write_bytes(content[:at] + put + content[at + cut :])
    read = is_refused_or(lambda: Split.load(file))
    assert read is None or read.fingerprint == split.fingerprint
