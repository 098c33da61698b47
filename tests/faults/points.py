"""The named points at which a service can die, each of which some rule of the architecture answers for."""

POINTS: tuple[tuple[str, str], ...] = (
    ("trigger_matcher", "before_commit"),
    ("trigger_matcher", "after_commit"),
    ("trigger_matcher", "after_send"),
    ("trigger_matcher", "lanes_after_commit"),
    ("engine", "before_commit"),
    ("engine", "after_commit"),
    ("engine", "after_send"),
    ("action_executor", "after_claim"),
    ("action_executor", "after_answer"),
    ("action_executor", "after_commit"),
    ("action_executor", "after_send"),
    ("finalizer", "before_commit"),
    ("finalizer", "after_commit"),
    ("finalizer", "after_send"),
    ("timer_scheduler", "before_commit"),
    ("timer_scheduler", "after_commit"),
    ("timer_scheduler", "after_send"),
    ("signal_delivery", "before_commit"),
    ("signal_delivery", "after_commit"),
    ("signal_delivery", "after_send"),
)
