"""The command before its parts are loaded. Takes words, gives an exit code; Ctrl-C is one line from the first moment on."""

import sys

INTERRUPTED = 130


def main() -> None:
    """Run the command."""
    try:
        from service.cli.main import main as run

        run()
    except KeyboardInterrupt:
        sys.stderr.write("deconvoy: stopped\n")
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
