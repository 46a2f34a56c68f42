"""The base of everything that a user may write about a fleet."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Table(BaseModel):
    """One TOML table: known keys only, no text for numbers, nothing infinite, never changed."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, frozen=True)
