"""Two processes that write one store at the same time, as on S3, where there is no lock: step by step."""

import numpy as np
import pytest

from hamcache.cache.store import FeatureStore
from hamcache.cache.survey import Survey
from tests.cache.conftest import DIM, KEY, digest_of, vectors_of


def write(store: FeatureStore, view: int, image_ids, place=None) -> None:
    """Write these images of the first chunk."""
    place = place or store.place(0, view)
    rows = [place.image_ids.index(i) for i in image_ids]
    store.write_chunk(place, rows, vectors_of(image_ids, view), [digest_of(i) for i in image_ids])


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_images_that_another_added_to_a_chunk_keep_their_vectors(root, order):
    one, other = [f"a{n}" for n in range(5)], [f"b{n}" for n in range(5)]
    stores = [FeatureStore.prepare(root, KEY, DIM, one, {})]
    places = [stores[0].place(0, 0)]  # as the first writer's plan knew it
    stores.append(FeatureStore.prepare(root, KEY, DIM, other, {}))
    places.append(stores[1].place(0, 0))
    for n in order:
        write(stores[n], 0, (one, other)[n], places[n])
    everything = [*one, *other]
    assert np.array_equal(FeatureStore.open(root, KEY.folder).read(everything)[:, 0], vectors_of(everything, 0))


def test_the_description_never_says_less_than_there_is(root):
    first = FeatureStore.prepare(root, KEY, DIM, ["a"], {})
    second = FeatureStore.prepare(root, KEY, DIM, ["b"], {})
    write(second, 3, ["b"])
    second.describe()
    write(first, 0, ["a"])
    first.set_views(1)  # what it knows of
    first.describe()
    assert FeatureStore.open(root, KEY.folder).bounds == (2, 4)
    assert Survey(FeatureStore.open(root, KEY.folder)).chunks == [(0, 0), (0, 3)]
