import numpy as np
from aiokafka.partitioner import murmur2
from hypothesis import given
from hypothesis import strategies as st

from streamer.partitions import partition_of, partitions_of


@given(st.lists(st.binary(max_size=40), max_size=50), st.integers(1, 1000))
def test_places_keys_as_the_java_client_does(keys: list[bytes], partitions: int) -> None:
    expected = [(murmur2(key) & 0x7FFFFFFF) % partitions for key in keys]
    assert partitions_of(keys, partitions).tolist() == expected


def test_known_values() -> None:
    # From Kafka's own UtilsTest.testMurmur2.
    hashes = {b"21": -973932308, b"foobar": -790332482, b"a-little-bit-long-string": -985981536}
    expected = [value & 0x7FFFFFFF for value in hashes.values()]
    assert partitions_of(list(hashes), 2**31).tolist() == expected
    assert [partition_of(key, 2**31) for key in hashes] == expected


def test_one_key_alone_is_placed_as_among_others() -> None:
    keys = [b"user-%d" % number for number in range(1000)]
    assert partitions_of(keys, 7).tolist() == [partition_of(key, 7) for key in keys]
    assert np.bincount(partitions_of(keys, 7)).min() > 0
