"""`python -m dagorama`: the `dagorama` command, where the folder of scripts is not on PATH."""

from dagorama.cli.main import main

if __name__ == "__main__":
    main()
