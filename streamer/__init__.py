"""The online side: whatever touches Kafka, Redis or the GPU while serving."""

__version__ = "0.1.0"
