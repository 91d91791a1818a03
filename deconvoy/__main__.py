"""Entry point of the command. Takes arguments, gives an exit code; from the first moment on, Ctrl-C prints one line."""

import sys

WRONG_USAGE = 2  # exit code
INTERRUPTED = 130


def main() -> None:
    """Run the command, unless other packages hide ours."""
    try:
        from deconvoy.shadows import find_shadow

        if shadow := find_shadow():
            sys.stderr.write(f"deconvoy: {shadow}\n")
            sys.exit(WRONG_USAGE)
        from service.__main__ import main as run

        run()
    except KeyboardInterrupt:
        sys.stderr.write("deconvoy: stopped\n")
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
