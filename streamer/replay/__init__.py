"""Replays an event log through the real stream, and scores what comes out against what people did.

Events go through Kafka, the workers and Redis as they would live, but as fast as the workers can: window by
window of event time, so that no score ever sees a later event. Knows nothing of how results are shown.
"""
