"""An evaluation as one page for people: plots, tables, nothing fetched from anywhere.

Knows labels, probabilities and figures; nothing of models.
"""

from models.report.write import write_report

__all__ = ["write_report"]
