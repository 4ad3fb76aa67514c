"""Blocks as aiokafka reads them: another implementation of the format than the one that wrote."""

from __future__ import annotations

from typing import Any

from aiokafka.record.memory_records import MemoryRecords

from streamer.record_batches import RecordBatch
from streamer.stage import Block


def read(block: Block, compression: str = "none") -> list[Any]:
    """The records of a block, once it is a batch whose checksum is right."""
    batch = RecordBatch(block, compression)
    batch._set_producer_state(7, 1, 42)
    parsed = MemoryRecords(bytes(batch._build())).next_batch()
    assert parsed is not None
    assert parsed.validate_crc()
    assert (parsed.producer_id, parsed.producer_epoch, parsed.base_sequence) == (7, 1, 42)
    records = list(parsed)
    assert len(records) == batch.record_count() == block.count
    assert [record.offset for record in records] == list(range(block.count))
    assert {record.timestamp for record in records} == {block.timestamp}
    return records
