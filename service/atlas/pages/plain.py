"""Pages of words alone. Takes a text or nothing, gives the values that pages show and JSON twins send."""

from typing import Literal

from service.atlas.pages.values import Page


class LimitsPage(Page):
    """What the pictures do not say."""

    kind: Literal["limits"] = "limits"


class ErrorPage(Page):
    """Why there is no other page."""

    kind: Literal["error"] = "error"
    error: str
