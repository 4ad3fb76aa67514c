"""Servers for trials, tests and the demo, on this machine only.

Knows how to start, kill and restart Kafka, Redis and a mock broker on localhost. Knows nothing of what the
streamer does with them.
"""
