"""`python -m cadenza` is the command line."""

from cadenza.cli import main

raise SystemExit(main())
