"""Bounds of this service, beside those of outlast.limits."""

REQUEST_BYTES_MAX = 256 * 1024
"""Any request body; what a signal carries is bounded by outlast.limits.SIGNAL_PAYLOAD_BYTES_MAX."""
REQUESTS_AT_ONCE_MAX = 256
"""Connections that are being answered; more are told 503."""
WAITS_AT_ONCE_MAX = 128
"""Requests that wait for a verdict; more are answered at once, as if they had not asked to wait."""
WAIT_SECONDS_MAX = 30
"""The longest `?wait=`."""
SIGNAL_ID_CHARACTERS_MAX = 128
"""A signal's id, as its sender chose it."""
SENDER_CHARACTERS_MAX = 256
"""Who sent it, on `signals.inbound`."""
TARGETS_SHOWN_MAX = 1_000
"""Runs listed in one answer about a signal; how many there are is said beside them."""
RESEND_SECONDS_FIRST = 2
"""After so long without a verdict a signal is sent again."""
RESEND_SECONDS_MAX = 60
"""The longest pause between two sendings."""
KEPT_FOR_A_WAIT_MAX = 10
"""Signals with a key that a run gets because it comes to wait with it: it needs one, the others it keeps."""
POKE_SECONDS = 1
"""What a request has recorded is sent when its poke comes; without one it is due after this."""
LOOK_SECONDS_MIN = 1.0
"""Between two looks at what is due."""
LOOK_SECONDS_MAX = 30.0
"""A look even if nothing is known to be due: another process may have recorded something and died."""
SENDINGS_MAX = 2_000
"""Runs that one turn sends signals to. A key that more wait with reaches the others in the turns that follow."""
DUE_MAX = 2_000
"""Signals sent again, and signals closed, in one look."""
KEPT_DAYS = 30
"""How long a closed signal can be asked for."""
PRUNED_MAX = 5_000
"""Rows deleted in one statement."""
KEY_LOCKS = 256
"""Locks that all correlation keys share."""
