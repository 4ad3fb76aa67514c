"""A seeded synthetic social network whose engagement probabilities are known.

Knows nothing of models: it only writes an event log, and the truth beside it.
"""

from models.world.config import SIZES, WorldConfig
from models.world.export import write
from models.world.generate import World, simulate

__all__ = ["SIZES", "World", "WorldConfig", "simulate", "write"]
