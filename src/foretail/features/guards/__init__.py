"""Guards: what stands between a joined training set and a model, and stops it with feature, split, share and limit."""

from foretail.features.guards.check import check_counts, check_frame, measure
from foretail.features.guards.expiry import check_ttl, expiry
from foretail.features.guards.findings import GuardFinding, guard_frame, guard_table, refuse
from foretail.features.guards.leaks import check_leaks, label_ahead
from foretail.features.guards.limits import GuardLimits, limits_of, read_limits
from foretail.features.guards.splits import check_splits, period_splits, split_masks

__all__ = [
    "GuardFinding",
    "GuardLimits",
    "check_counts",
    "check_frame",
    "check_leaks",
    "check_splits",
    "check_ttl",
    "expiry",
    "guard_frame",
    "guard_table",
    "label_ahead",
    "limits_of",
    "measure",
    "period_splits",
    "read_limits",
    "refuse",
    "split_masks",
]
