"""Pages of text alone. Takes a text or nothing, gives the values that pages show and JSON twins send."""

from typing import Literal

from service.atlas.pages.values import Page


class LimitsPage(Page):
    """The limits of the pictures."""

    kind: Literal["limits"] = "limits"


class ErrorPage(Page):
    """An error instead of a page."""

    kind: Literal["error"] = "error"
    error: str
