"""Data of other libraries in and out of a lab: data sets that a program holds, and features as a DataFrame."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from hamcache.data.workspace import Workspace

if TYPE_CHECKING:
    import pandas as pd

    from hamcache.data.splits import Split


class LabFrames:
    """The part of a `Lab` that other libraries meet.

    Attributes:
        workspace: Where everything lies.
    """

    workspace: Workspace

    @classmethod
    def of(
        cls,
        data: Any,
        name: str,
        workspace: str | Path | None = None,
        *,
        columns: Mapping[str, str] | None = None,
        replace: bool = False,
        **options: Any,
    ) -> Self:
        """The lab of a data set that a program holds, kept in the workspace by a name, which `--dataset` takes, too.

        >>> Lab.of(frame, "moles", columns={"path": "file", "label": "diagnosis", "group": "lesion"})  # doctest: +SKIP
        Lab('moles', workspace='workspace')

        Args:
            data: A DataFrame with paths and labels; a torchvision data set, or anything indexed that gives an image
                and a label; a Hugging Face data set; or a dict of these by part, which becomes the column `part`.
            name: Of the data set.
            workspace: As of `Lab`.
            columns: Our names (`image_id, path, label, group`) to the data's, where they differ.
            replace: Write over another data set of this name.
            options: Further arguments of `Lab`.
        """
        from hamcache.data.readers.python_objects import keep_table
        from hamcache.pipeline.cli.console import progress_bar

        make: Any = cls  # its arguments are those of `Lab`
        lab: Self = make(name, workspace, **options)
        with progress_bar("keeping", None, "images") as advance_to:
            keep_table(data, name, lab.workspace, columns, replace=replace, on_image=advance_to)
        return lab

    def features_frame(
        self, features: str, augmentation: str = "none", view: int = 0, *, split: Split | None = None
    ) -> pd.DataFrame:
        """Cached features as a DataFrame: `image_id` as index; `label`, `group`, `part`, then a column a feature.

        >>> frame = lab.features_frame("tf_efficientnet_lite0")  # doctest: +SKIP
        >>> train = frame[frame["part"] == "train"]  # doctest: +SKIP
        >>> LogisticRegression().fit(train.iloc[:, 3:], train["label"])  # doctest: +SKIP

        Args:
            features: A backbone, or several joined by `+`; columns are called `<backbone>.<number>`.
            augmentation: Augmentation whose views are read.
            view: The view.
            split: Deals the images to parts (default: `Lab.split()`); images in none have an empty part.

        Raises:
            MissingFeaturesError: The cache lacks some; names the command that makes them.
        """
        import numpy as np
        import pandas as pd

        from hamcache.pipeline.experiment.inputs import image_blocks, open_inputs

        lab: Any = self  # a `Lab`
        config = lab.config(features, augmentation, view + 1)
        inputs = open_inputs(config, self.workspace, dataset=lab._opened())
        table = inputs.table.frame
        table = table[~table["image_id"].isin(set(inputs.left_out))].set_index("image_id")
        dealt = (lab.split() if split is None else split).frame.set_index("image_id")["part"]
        asked = config.features.model_copy(update={"blocks": tuple(image_blocks(config.features))})
        blocks = inputs.load(asked, list(table.index))
        arrays = [block.arrays(list(table.index)).views[:, view] for block in blocks]
        names = [f"{b.config.backbone}.{n}" for b, a in zip(blocks, arrays, strict=True) for n in range(a.shape[1])]
        about = pd.DataFrame(
            {"label": table["label"], "group": table["group"], "part": dealt.reindex(table.index).fillna("")}
        )
        return pd.concat([about, pd.DataFrame(np.concatenate(arrays, axis=1), table.index, names)], axis=1)
