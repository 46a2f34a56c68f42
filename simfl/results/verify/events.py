"""Laws of what processes did: rows in order of time, on devices that there are."""

from __future__ import annotations

import numpy as np
import pandas as pd

from simfl.results.verify.subject import SLACK_S, Tables, first, late

#: Changes of a world, and what their value is: above 0, a group, a cell or nothing in particular.
_POSITIVE = ("set_speed", "set_link.down", "set_link.up")
_OTHER = ("add", "retire", "leave", "come_back", "end_task", "move", "set_carbon", "set_price")
_OWN = "world."


def rows(t: Tables) -> str | None:
    """Times do not run backwards, devices exist, and changes are such as a world makes."""
    events = t.events
    if events.empty:
        return None
    time, kind = events["time"].to_numpy(), events["kind"].astype(str)
    device = events["device"].fillna(-1).to_numpy(np.int64)
    own = kind.str.startswith(_OWN)
    word = kind.str.removeprefix(_OWN)
    known = word.isin([*_POSITIVE, *_OTHER]) | word.str.match(r"set_(cell\..+|server)\.\w+$")
    value = events["value"].to_numpy()
    return (
        first(events, ~(time >= 0.0), "an event before the run began")
        or first(events[1:], np.diff(time) < 0.0, "events are not in order of time")
        or first(events, (device < -1) | (device >= len(t.devices)), "an event of no device")
        or first(events, own & ~known, "a change that no world makes")
        or first(
            events, own & word.isin(_POSITIVE) & ~(value > 0.0), "a factor that is not above 0"
        )
        or _within_the_run(t, time)
        or _membership(t, events.assign(word=word.where(own, ""), number=device))
    )


def _within_the_run(t: Tables, time: np.ndarray) -> str | None:
    if not t.finished or not len(t.tasks):
        return None
    flying = (t.tasks["outcome"] == "in_flight").any()
    return first(t.events, late(time, t.end_s), "an event after the run's end") if flying else None


def _membership(t: Tables, events: pd.DataFrame) -> str | None:
    """Newcomers are numbered in order, and who is retired does and is asked for nothing more."""
    joined = events[events["word"] == "add"]
    own = len(t.devices) - len(joined)
    if not np.array_equal(joined["number"], own + np.arange(len(joined))):
        return "newcomers are not numbered in the order in which they joined"
    if not np.array_equal(t.devices["group"].to_numpy()[own:], joined["value"]):
        return "a newcomer is of another group than the one that it joined from"
    gone = events[events["word"] == "retire"]
    if gone["number"].duplicated().any():
        return "a device was retired twice"
    lives_s = np.full((2, len(t.devices)), [[0.0], [np.inf]])
    lives_s[0, joined["number"]], lives_s[1, gone["number"]] = joined["time"], gone["time"]
    begin_s, end_s = lives_s[:, t.tasks["device"].to_numpy()]
    sent_s, ended_s = t.tasks["dispatched_s"].to_numpy(), t.tasks["ended_s"].to_numpy()
    return first(t.tasks, sent_s < begin_s - SLACK_S, "sent before its device had joined") or first(
        t.tasks, ended_s > end_s + SLACK_S, "went on after its device was retired"
    )
