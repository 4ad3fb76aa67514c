"""The model and everything offline: event logs, features, training, evaluation, bundles.

Knows nothing of Kafka, Redis servers or the command line: `streamer` imports `models`, never back.
"""
