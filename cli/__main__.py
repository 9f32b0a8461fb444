"""`python -m callsheet.cli` is the command too."""

from . import main

main()
