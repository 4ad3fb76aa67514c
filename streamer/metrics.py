"""Every metric of a worker, in base units (seconds, records). Defined here and nowhere else.

`prometheus_client` appends `_total` to counters. Labels: `stage` is a stage's name, `topic` a logical topic
name (without prefix), `partition` its number.
"""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

#: From a millisecond to half a minute: a batch of the scorer takes 5 to 100 ms, a cold encoder batch seconds.
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
#: The end-to-end target is a p99 under 60 ms, nothing above 500 ms: finer there, up to a backlog of minutes.
_END_TO_END = (0.005, 0.01, 0.02, 0.03, 0.04, 0.06, 0.08, 0.12, 0.2, 0.3, 0.5, 1, 2, 5, 15, 60, 300)
_RECORDS = (1, 3, 10, 30, 100, 300, 1_000, 3_000, 10_000, 30_000)

records_in = Counter("streamer_records_in", "Records taken and done.", ["stage", "topic"])
records_handed_over = Counter(
    "streamer_records_handed_over",
    "Records that another stage of this worker took directly, not through Kafka, and has done.",
    ["stage", "topic"],
)
records_out = Counter("streamer_records_out", "Records durable in Kafka.", ["stage", "topic"])
bytes_out = Counter("streamer_bytes_out", "Bytes of those records, before compression.", ["stage", "topic"])
dead_letters = Counter(
    "streamer_dead_letters", "Records that could not be handled, by reason.", ["stage", "reason"]
)
records_skipped = Counter(
    "streamer_records_skipped",
    "Records left out to catch up (and committed); reason is too_old or behind.",
    ["stage", "reason"],
)
dropping_partitions = Gauge(
    "streamer_dropping_partitions", "Partitions whose records are dropped: too many wait.", ["stage"]
)
batch_records = Histogram("streamer_batch_records", "Records per batch.", ["stage"], buckets=_RECORDS)
stage_seconds = Histogram(
    "streamer_stage_seconds", "Time in the stage's own code, per batch.", ["stage"], buckets=_SECONDS
)
send_seconds = Histogram(
    "streamer_send_seconds", "Time until a batch's outputs are durable.", ["stage"], buckets=_SECONDS
)
end_to_end_seconds = Histogram(
    "streamer_end_to_end_seconds",
    "From a tweet's publication until its predictions are durable; one observation per tweet and batch.",
    buckets=_END_TO_END,
)
cache_lookups = Counter(
    "streamer_cache_lookups", "Lookups in a cache; result is hit or miss.", ["cache", "result"]
)
embeddings_computed = Counter("streamer_embeddings_computed", "Tweet vectors computed.")
duplicate_computations = Counter(
    "streamer_duplicate_computations",
    "Tweet vectors computed although another worker had; 0 in normal running.",
)
lag_records = Gauge("streamer_lag_records", "Records not done yet.", ["stage", "topic", "partition"])
lag_seconds = Gauge("streamer_lag_seconds", "Age of the oldest record not done yet.", ["stage"])
underway_records = Gauge(
    "streamer_underway_records", "Records read from Kafka and not done: a bounded number.", ["stage"]
)
rebalances = Counter("streamer_rebalances", "Times the partitions were dealt anew.", ["stage"])
assigned_partitions = Gauge("streamer_assigned_partitions", "Partitions this worker reads.", ["stage"])
model_info = Gauge("streamer_model_info", "1 for the model served.", ["fingerprint"])
