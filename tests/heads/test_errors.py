"""Errors of heads come out of the processes that train them with the message they went in with."""

import pickle

import pytest

from hamcache.heads import errors
from hamcache.heads.errors import ClassAbsentError, HeadError, UnknownNameError

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, HeadError)]


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_survives_the_way_out_of_a_process(kind: type[HeadError]) -> None:
    arguments = {ClassAbsentError: (["mel", "nv"],)}.get(kind, ("a message",))
    error = kind(*arguments) if not issubclass(kind, UnknownNameError) else kind("logrg", ["logreg"])
    back = pickle.loads(pickle.dumps(error))
    assert (type(back), str(back)) == (kind, str(error))
