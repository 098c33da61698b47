"""The executor's settings, from the environment."""

from collections.abc import Mapping
from dataclasses import dataclass

from outlast.runtime.loop_settings import LoopSettings, read_loop_settings
from outlast.runtime.settings import Environment, SettingsError
from outlast_action_executor.guard import EgressRefused, Guard, take_apart
from outlast_action_executor.relay import Relay, Senders, read_relay, read_senders

_PREFIX = "OUTLAST_ACTION_EXECUTOR_"


@dataclass(frozen=True, slots=True)
class Settings:
    """Where the servers are, what the platform wants, where requests may go besides the public net."""

    loop: LoopSettings
    platform_url: str
    service_token: str
    egress_allow: tuple[str, ...]
    grace_seconds: float
    relay: Relay | None
    """Takes our mail; None where no mail is sent."""
    senders: Senders | None


def read_settings(variables: Mapping[str, str] | None = None) -> Settings:
    """Validated settings; ends the process with a sentence when one is wrong."""
    environment = Environment("action_executor", variables)
    relay, senders = _read_mail(environment)
    settings = Settings(
        loop=read_loop_settings(environment, "action_executor"),
        platform_url=environment.text("PLATFORM_URL"),
        service_token=environment.text("OUTLAST_SERVICE_TOKEN", ""),
        egress_allow=tuple(
            filter(None, environment.text("OUTLAST_EGRESS_ALLOW", "").replace(",", " ").split())
        ),
        grace_seconds=environment.seconds("OUTLAST_ACTION_EXECUTOR_GRACE_SECONDS", 18.0, most=19.0),
        relay=relay,
        senders=senders,
    )
    environment.finish()
    try:
        take_apart(settings.platform_url)
    except EgressRefused as fault:
        raise SettingsError(f"action_executor: setting PLATFORM_URL: {fault}") from fault
    try:
        Guard(settings.egress_allow)
    except ValueError as fault:
        raise SettingsError(f"action_executor: setting OUTLAST_EGRESS_ALLOW: {fault}") from fault
    return settings


def _read_mail(environment: Environment) -> tuple[Relay | None, Senders | None]:
    url = environment.text(_PREFIX + "SMTP_URL", "")
    sender = environment.text(_PREFIX + "SMTP_FROM", "")
    allowed = environment.text(_PREFIX + "SMTP_FROM_ALLOW", "").replace(",", " ").split()
    if not url:
        return None, None
    try:
        relay = read_relay(url)
    except ValueError as fault:
        raise SettingsError(f"action_executor: setting {_PREFIX}SMTP_URL: {fault}") from fault
    try:
        senders = read_senders(sender, allowed)
    except ValueError as fault:
        raise SettingsError(f"action_executor: setting {_PREFIX}SMTP_FROM or _ALLOW: {fault}") from fault
    return relay, senders
