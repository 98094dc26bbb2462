"""`python -m osler` is the command line; `torchrun ... -m -- osler train CONFIG` starts one process a GPU."""

from __future__ import annotations

from osler.cli import main

if __name__ == "__main__":
    main()
