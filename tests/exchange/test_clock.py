"""The ids that are made by the thousand."""

import uuid

from shim.exchange.clock import random_uuid


def test_ids_are_uuids_of_version_4_and_no_two_are_the_same() -> None:
    made = [random_uuid() for _ in range(1000)]

    assert len(set(made)) == len(made)
    for id in made:
        known = uuid.UUID(id)
        assert (known.version, known.variant, str(known)) == (4, uuid.RFC_4122, id)
