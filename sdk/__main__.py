"""`python -m sdk`: the command, where it is on no path."""

from sdk.cli import main

if __name__ == "__main__":
    main()
