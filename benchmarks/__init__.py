"""Measurements beside peers, on one machine: `make bench`.

Each part is a module with `run(options) -> list[Result]`; `benchmarks.__main__` lists them.
"""

import models  # noqa: F401  (before torch: it says how torch threads wait)
