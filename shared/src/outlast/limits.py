"""Every bound of the product, by name. A queue, loop, retry, batch or payload without a line here is a bug."""

BATCH_MAX = 2_000
"""Messages that one turn of a loop takes."""
EVENT_BYTES_MAX = 256 * 1024
"""A domain event as it arrives, envelope and data together."""
EVENT_ID_CHARACTERS_MAX = 256
"""An event's `id`. With source and company it is one key of an index: together below PostgreSQL's 2,704 bytes."""
EVENT_SOURCE_CHARACTERS_MAX = 256
"""An event's `source`."""
COMPANY_ID_CHARACTERS_MAX = 128
"""A company's id, as the extension `companyid` carries it."""
EVENT_TYPE_CHARACTERS_MAX = 128
"""An event's `type`."""
EVENT_SUBJECT_CHARACTERS_MAX = 1_024
"""An event's `subject`."""
EVENT_NESTING_MAX = 64
"""Objects and lists inside each other in an event's data."""
EVENT_CHAIN_MAX = 64
"""Execution ids in an event's `outlastchain`; far above any chain that the loop guard lets grow."""
DEAD_LETTER_ERROR_BYTES_MAX = 2_048
"""The error's text in a dead letter's header."""
PAYLOAD_BYTES_MAX = 1024 * 1024
"""An enriched payload."""
MESSAGE_BYTES_MAX = 4 * 1024 * 1024
"""Any message on our own topics (`max.message.bytes`)."""
OUTPUT_BYTES_MAX = 128 * 1024
"""An action's output that can be referred to by later templates."""
RENDERED_INPUT_BYTES_MAX = 512 * 1024
"""An action's rendered input."""
DEFINITION_BYTES_MAX = 256 * 1024
"""A runbook's canonical document."""
UNFINISHED_MAX = 1_000
"""Activities that one executor holds per partition before it pauses the partition."""
CALLS_IN_FLIGHT_MAX = 256
"""Actions that one executor runs at the same time."""
CALLS_PER_DESTINATION_MAX = 64
"""Actions at the same time to one host and port."""
CALLS_PER_COMPANY_MAX = 128
"""Actions at the same time for one company."""
ACTIVITY_TIMEOUT_SECONDS_MAX = 600
ACTIVITY_TIMEOUT_SECONDS_DEFAULT = 30
POISON_ACQUISITIONS_MAX = 3
"""Acquisitions at one offset without progress before the partition is read one message at a time."""
OPEN_PAGE_MAX = 500
"""Open runs re-derived in one page after the broker's data was lost."""
RECORDED_IDS_MAX = 2_000
"""Execution ids in one `recorded` message."""
LOOKUP_IDS_MAX = 1_000
"""Findings and assets asked for in one look-up."""
CHAIN_DEPTH_MAX = 3
"""How many executions may cause each other in one causal chain."""
DEFINITION_DEPTH_MAX = 40
"""Nesting of a runbook's document, lists and objects together."""
CONDITION_DEPTH_MAX = 16
"""Nesting of groups in one condition tree."""
CONDITION_LEAVES_MAX = 500
"""Leaves of one condition tree."""
RULES_MAX = 50
"""Rules of one runbook."""
ACTIONS_MAX = 200
"""Actions of one runbook, those inside branches included."""
BRANCH_DEPTH_MAX = 8
"""`when` actions inside `when` actions."""
TEMPLATE_VALUE_BYTES_MAX = 64 * 1024
"""A template's source, and what it renders to."""
EXPRESSION_CHARACTERS_MAX = 4_096
"""One `{{ expression }}`."""
EXPRESSION_DEPTH_MAX = 50
"""Nesting of one expression."""
TEMPLATE_WORK_MAX = 1_000_000
"""Elements and characters that the filters of one rendered value may look at."""
INTEGER_MAX = 2**63 - 1
"""The largest whole number that arithmetic in a template may give."""
FAULTS_MAX = 100
"""Faults reported for one refused definition."""
TAKEOVERS_MAX = 10
"""Times that a claim of unknown outcome is called again; then it fails."""
CLAIM_MARGIN_SECONDS = 10.0
"""From the end of a call's time to the deadline of its claim: what settling may take."""
CLAIM_BEGIN_SECONDS = 5.0
"""From the request for a claim to its call; a call that would begin later is not made on that claim."""
RESPONSE_BYTES_MAX = 256 * 1024
"""Of an outside response; the rest is not read."""
REDIRECTS_MAX = 5
"""Hops that an outside request follows, where it may."""
ERROR_EXCERPT_CHARACTERS_MAX = 500
"""Of a response's body in an error's message."""
FINDING_OPERATIONS_MAX = 500
"""Changes of findings in one request to the platform."""
SIGNALS_MAX = 1_000
"""Signals that one run takes in; more are rejected, and their senders are told."""
SIGNALS_BYTES_MAX = 4 * 1024 * 1024
"""What the signals of one run carry, together; more are rejected."""
SIGNAL_NAME_CHARACTERS_MAX = 128
"""A signal's name."""
SIGNAL_KEY_CHARACTERS_MAX = 256
"""A correlation key."""
SIGNAL_PAYLOAD_BYTES_MAX = 64 * 1024
"""What a signal carries."""
SIGNAL_WAIT_SECONDS_DEFAULT = 72 * 3600
"""How long await_signal waits, and how long an early signal is kept, unless told otherwise."""
WAIT_SECONDS_MAX = 366 * 24 * 3600
"""The longest sleep, and the longest wait for a signal."""
RETRY_AFTER_SECONDS_MAX = 24 * 3600
"""The longest pause before the next attempt that the other side may ask for."""
INLINE_RETRY_SECONDS_MAX = 60
"""Pauses between attempts, together, in one run in mode inline: nothing but a process holds it meanwhile."""
INLINE_RUNS_MAX = 500
"""Inline runs that one executor has in hand per partition before it pauses the partition."""
INLINE_BYTES_MAX = 32 * 1024 * 1024
"""Their start messages, together; what is decoded of them takes a few times as much."""
INLINE_UNFINISHED_MAX = 10_000
"""Runs of a partition from the oldest in hand on, ended or not: so many are answered again after a crash."""
INLINE_BEGUN_MAX = 200
"""Inline runs that one turn begins; activities get their turn in between."""
INLINE_DEFINITIONS_MAX = 2_000
"""Compiled definitions that an executor keeps for inline runs."""
TIMERS_HELD_MAX = 2_000
"""Timers of one partition that the timer scheduler holds in memory; a quarter more for a moment."""
TIMERS_FIRED_MAX = 1_000
"""Timers that one turn fires; commands get their turn in between."""
WINDOW_SECONDS_MAX = 366 * 24 * 3600
"""The longest window of a throttle."""
WINDOW_LIMIT_MAX = 10_000
"""Firings in one window: the gate keeps each until the window has passed."""
THROTTLES_MAX = 10
"""Windows of one runbook."""
CONCURRENCY_LIMIT_MAX = 10_000
"""Runs with one concurrency key at the same time."""
QUEUE_LIMIT_DEFAULT = 1_000
"""Firings that wait for one concurrency key, unless told otherwise."""
QUEUE_LIMIT_MAX = 100_000
"""Firings that may wait for one concurrency key."""
GUARD_KEY_CHARACTERS_MAX = 200
"""A rendered throttle or concurrency key; a longer one is replaced by its digest."""
BREAKER_THRESHOLD_DEFAULT = 10
"""Failed executions in a row that trip a runbook's breaker."""
BREAKER_THRESHOLD_MAX = 1_000
"""The highest threshold that a runbook may ask for."""
CRON_CHARACTERS_MAX = 200
"""A cron entry."""
CATCH_UP_SECONDS_MAX = 7 * 24 * 3600
"""How far back a schedule may make up for what it missed."""
JITTER_SECONDS_MAX = 3600
"""How late a schedule may fire on purpose."""
CRON_FIRED_MAX = 500
"""Firings of schedules that one turn says."""
CRON_FIRED_OF_ONE_MAX = 100
"""Of one schedule, which makes up for what it missed."""
CRON_SKIPPED_COUNTED_MAX = 1_000
"""Missed times of one schedule that are counted one by one; beyond, the count is at least that."""
CRON_SETTLED_MAX = 500
"""Runbooks whose schedules are compared with their rows in one turn."""
CRON_REPEATED_SECONDS = 24 * 3600
"""How far back firings are said again when the broker's data was lost."""
GATE_ROW_ENTRIES_MAX = 64
"""Firings in one row of the gate's tables: what a change writes."""
GATE_ANSWERS_MAX = 1_000
"""Answers to one key that the gate keeps, beyond those that count, to give them again."""
GATE_ASKED_AGAIN_SECONDS = 60
"""How long after a firing passed its window the matcher may still ask for it again."""
GATE_SHELVES_SWEPT = 2
"""Keys of a runbook that the gate looks at for each of its asks, to forget what is old."""
SHADOW_OUTCOME_SECONDS_MAX = 24 * 3600
"""How long a shadow run waits for what its inline run did; then it is incomparable."""
SHADOW_DIFFERENCES_MAX = 50
"""Differences of one shadow run that are kept."""
DIFFERENCE_EXCERPT_CHARACTERS_MAX = 500
"""Of each side of a difference."""
