"""Images that could not be turned into features, with the reason; kept per data set, the same for all backbones."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass

from hamcache.cache.errors import CacheError
from hamcache.cache.storage import Root

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class BadImage:
    """One quarantined image: the digest of the bytes that failed ("missing" for no file), and why."""

    image_id: str
    digest: str
    reason: str


class Quarantine:
    """The quarantined images of one data set. A changed file leaves quarantine by itself: its digest is another."""

    def __init__(self, root: Root, dataset: str) -> None:
        self._root, self._path = root, (dataset, "quarantine.json")
        self._images: dict[str, BadImage] = {}
        self._damaged = False
        if root.exists(*self._path):
            try:
                listed = root.read_json(*self._path)
                if not isinstance(listed, list):
                    raise TypeError(f"expected a list, got {type(listed).__name__}")
                self._images = {i["image_id"]: BadImage(**i) for i in listed}
            except CacheError:  # a root that is away is no damage
                raise
            except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
                aside = f"{self._path[-1]}.damaged"
                _log.warning(
                    "%s is damaged (%r) and is left out of account, and set aside as %s when it is next written. "
                    "Extracting finds the bad images again.",
                    root.join(*self._path), error, aside,
                )  # fmt: skip
                self._damaged = True

    def __len__(self) -> int:
        return len(self._images)

    def images(self) -> list[BadImage]:
        """All of them, by id."""
        return [self._images[image_id] for image_id in sorted(self._images)]

    def among(self, digests: Mapping[str, str]) -> dict[str, BadImage]:
        """Quarantined images among these whose file is still the one that failed."""
        return {i: bad for i, bad in self._images.items() if digests.get(i) == bad.digest}

    def add(self, *images: BadImage) -> None:
        """Add images and write the file."""
        if images:
            self._images |= {bad.image_id: bad for bad in images}
            self._save()

    def release(self, *image_ids: str) -> None:
        """Take images out (all of them if none is named), so that the next extract tries them again."""
        self._images = {i: bad for i, bad in self._images.items() if image_ids and i not in image_ids}
        self._save()

    def _save(self) -> None:
        if self._damaged:
            with suppress(OSError, ValueError):
                content = self._root.read(*self._path)
                self._root.write(content, self._path[0], f"{self._path[1]}.damaged")
            self._damaged = False
        self._root.write_json([asdict(image) for image in self.images()], *self._path)
