"""`python -m memflux.cli`: the command where its console script is not on the path."""

from memflux.cli.main import main

main()
