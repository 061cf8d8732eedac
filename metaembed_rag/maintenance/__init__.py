"""Looking after an index: checked, repaired, moved to another place by one file."""

from __future__ import annotations

from metaembed_rag.maintenance.findings import CheckReport, Finding, RepairReport

__all__ = ["CheckReport", "Finding", "RepairReport"]
