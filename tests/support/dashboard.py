"""What the Streamlit example shows, printed as JSON. Run as `python -m tests.support.dashboard ROOT WIDGET=CHOICE ...`.

In a process of its own, since Streamlit replaces `__main__` and gives the loggers of uvicorn handlers of its own.
"""

import json
import sys
from pathlib import Path

from streamlit.testing.v1 import AppTest

APP = Path(__file__).parents[2] / "examples" / "streamlit" / "app.py"


def describe(app: AppTest) -> dict[str, object]:
    """The elements of a page as plain values."""
    return {
        "exceptions": [element.value for element in app.exception],
        "title": [element.value for element in app.title],
        "info": [element.value for element in app.info],
        "caption": [element.value for element in app.caption],
        "options": [box.options for box in app.sidebar.selectbox],
        "channels": [list(map(int, frame.value.channel)) for frame in app.dataframe if "channel" in frame.value],
        "labels": [list(frame.value.label) for frame in app.dataframe if "label" in frame.value],
    }


def main(root: str, *choices: str) -> None:
    """Print the page as it opens, and as it is after each choice."""
    sys.argv = ["app.py", root]
    app = AppTest.from_file(str(APP), default_timeout=60).run()
    pages = [describe(app)]
    for choice in choices:
        widget, value = choice.split("=")
        app.sidebar.selectbox[int(widget)].select(value).run()
        pages.append(describe(app))
    print(json.dumps(pages))


if __name__ == "__main__":
    main(*sys.argv[1:])
