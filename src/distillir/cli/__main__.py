"""`python -m distillir.cli`."""

from distillir.cli.app import main

main()
