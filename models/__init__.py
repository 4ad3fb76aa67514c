"""The model and everything offline: event logs, features, training, evaluation, bundles.

Knows nothing of Kafka, Redis servers or the command line: `streamer` imports `models`, never back.
"""

import os

# OpenMP threads spin for work by default, and take the cores from whatever else runs there: the scorer's
# threads get half of their pairs done, and two torch threads on two busy cores are 5 to 20 times slower than
# one. Read once, when torch is loaded.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
