"""The base of errors meant for people.

StreamerError
├── SettingsError       streamer.settings: a setting is wrong
├── StageUnavailable    streamer.stage: something a stage needs stays away
└── KafkaUnavailable    streamer.producer: Kafka stays away, lacks a topic, or refuses a record
"""

from __future__ import annotations


class StreamerError(Exception):
    """An error whose message says it all (what, why, what to do): shown as one line, without a traceback."""
