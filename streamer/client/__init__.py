"""Kafka as the command line sees it: administration, publishing, reading, dead letters, lag.

Built on kafka-python, which shares no code path with the workers (aiokafka under Faust), so it also proves
that their records are ordinary Kafka records. Knows nothing of how things are shown to people.
"""
