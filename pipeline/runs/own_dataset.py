"""The data set that a run was made from, as it is now."""

from hamcache.data.dataset import Dataset, open_dataset
from hamcache.data.errors import DataError
from hamcache.data.workspace import Workspace
from hamcache.pipeline.runs.records import Run


def own_dataset(run: Run, workspace: Workspace) -> Dataset | str:
    """The data set of a run; where it is not here, a sentence that says so.

    Args:
        run: A finished run.
        workspace: Where data sets that are named by a word lie; the synthetic one is not drawn for this.
    """
    words = run.config.dataset_words
    if words.must_be_drawn(workspace):
        return "the synthetic data set is not drawn in this workspace"
    try:
        return open_dataset(words, workspace)
    except (DataError, OSError) as error:
        return " ".join(str(error).split())
