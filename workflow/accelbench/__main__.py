"""`python -m accelbench`: the same commands as `accelbench`."""

from accelbench.cli import main

main()
