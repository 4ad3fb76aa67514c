"""`python -m streamer.cli`: the command without an installed script."""

from streamer.cli import main

if __name__ == "__main__":
    main()
