"""The command before its parts are loaded. Takes words, gives an exit code; Ctrl-C is one line from the first moment on."""

import sys

HIDDEN = 2  # exit code: wrong usage
INTERRUPTED = 130


def main() -> None:
    """Run the command, if its packages are ours."""
    try:
        from deconvoy.shadows import find_shadow

        if shadow := find_shadow():
            sys.stderr.write(f"deconvoy: {shadow}\n")
            sys.exit(HIDDEN)
        from service.__main__ import main as run

        run()
    except KeyboardInterrupt:
        sys.stderr.write("deconvoy: stopped\n")
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
